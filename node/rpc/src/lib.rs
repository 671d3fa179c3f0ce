//! JSON-RPC over HTTP and WebSocket, in Substrate's shapes.
