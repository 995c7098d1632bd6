import ArgumentParser
import Management

/// Serving one client, and serving for a test: how other programs start the server.
struct SingleClientOptions: ParsableArguments {
  @Flag(help: "Serve the one client that is connected to standard input, as inetd does, and end when it leaves.")
  var inetd = false

  @Option(help: ArgumentHelp("The descriptor of that client's socket; else 0.", valueName: "n"))
  var fd: Int32 = 0

  @Option(
    help: ArgumentHelp(
      "Serve one virtual disk of this size, on a file that is deleted at the end: for tests of clients.", valueName: "size"),
    transform: Parse.size)
  var throwAway: ByteSize?

  /// The smallest virtual disk, and one whose sparse file, a quarter larger, every usual file system takes (ext4 with 4 KiB blocks: 16 TiB). Bytes.
  static let throwAwayByteCounts: ClosedRange<UInt64> = 1 << 20...12 << 40

  func validate() throws {
    if fd != 0 && !inetd { throw ValidationError("--fd names the socket of --inetd. Give both.") }
    if fd < 0 { throw ValidationError("--fd \(fd) is no descriptor. Give 0 or more.") }
    if let throwAway, !Self.throwAwayByteCounts.contains(throwAway.byteCount) {
      throw ValidationError("--throw-away \(throwAway) is out of range. Give 1MiB to 12TiB.")
    }
  }
}
