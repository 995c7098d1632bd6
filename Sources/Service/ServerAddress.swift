import NBDServer

// The class NBDServer hides its module's name, and Management has an address type of its own: this file sees only one of the two.
typealias ServerAddress = ListenAddress
