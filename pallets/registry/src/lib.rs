//! Who is who: members, roles, meters and the devices bound to them.
