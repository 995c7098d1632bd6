/// The version of this program, as `spaceport --version` and `spaceport status` print it.
public let spaceportVersion = "0.1.0"
