//! Sessions of both roles, in memory: records split anywhere, and everything that comes between messages.
