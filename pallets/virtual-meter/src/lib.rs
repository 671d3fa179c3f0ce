//! Distributes the lots of a step to the members' virtual generation meters by the agreement.
