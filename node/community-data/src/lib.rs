//! Community data in CSV: members, meters and their readings, and the demo community shipped with the node.
