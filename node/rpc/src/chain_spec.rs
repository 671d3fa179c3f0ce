//! `chainSpec_v1_*`: which chain it is.

use jsonrpsee::server::RegisterMethodError;

use crate::methods::Methods;

pub(crate) fn register(methods: &mut Methods) -> Result<(), RegisterMethodError> {
    methods.tell("chainSpec_v1_chainName", |node| {
        node.info.chain_name.clone()
    })?;
    methods.tell("chainSpec_v1_genesisHash", |node| node.chain.genesis_hash())?;
    methods.tell("chainSpec_v1_properties", |node| {
        node.info.properties.clone()
    })
}
