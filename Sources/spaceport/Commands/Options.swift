import ArgumentParser
import Management
import NBDServer

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif
import Glibc

/// How command line words become values, with the refusal's reason and remedy in the message.
enum Parse {
  static func size(_ text: String) throws -> ByteSize { try explained { () throws(APIError) in try ByteSize(parsing: text) } }

  static func partitionSize(_ text: String) throws -> PartitionSize {
    try explained { () throws(APIError) in try PartitionSize(parsing: text) }
  }

  static func virtualDisk(_ text: String) throws -> VirtualDiskPath {
    try explained { () throws(APIError) in try VirtualDiskPath(parsing: text) }
  }

  static func volume(_ text: String) throws -> VolumePath { try explained { () throws(APIError) in try VolumePath(parsing: text) } }

  static func listenAddress(_ text: String) throws -> ListenAddress {
    do throws(ListenError) { return try ListenAddress(parsing: text) } catch { throw ValidationError("\(error)") }
  }

  static func networkRange(_ text: String) throws -> NetworkRange {
    do throws(NetworkRangeError) { return try NetworkRange(parsing: text) } catch { throw ValidationError("\(error)") }
  }

  private static func explained<Value>(_ parse: () throws(APIError) -> Value) throws -> Value {
    do throws(APIError) {
      return try parse()
    } catch {
      // The library shows a validation error's text as it is, and adds the usage.
      throw ValidationError("\(error)")
    }
  }
}

extension DefaultPaths {
  /// Those of the user who runs this process.
  static var current: DefaultPaths {
    DefaultPaths(userID: geteuid(), environment: ProcessInfo.processInfo.environment)
  }
}

/// Paths as they are typed.
enum Paths {
  /// The server runs in another directory than its client, so it is only ever sent absolute paths. Links and `..` stay as they are:
  /// what they mean is for the kernel to say.
  static func absolute(_ path: String) throws(APIError) -> String {
    guard !path.isEmpty else { throw APIError(.badRequest, "A path is empty", remedy: "Name a file, a disk or a directory") }
    return path.utf8.first == UInt8(ascii: "/") ? path : joined(try currentDirectory(), path)
  }

  static func absolute(_ paths: [String]) throws(APIError) -> [String] {
    var absolutePaths: [String] = []
    for path in paths { absolutePaths.append(try absolute(path)) }
    return absolutePaths
  }

  static func joined(_ directory: String, _ path: String) -> String {
    // Paths are bytes: a mark after a slash makes another character of the two, and still a slash to the kernel.
    let slash = UInt8(ascii: "/")
    var rest = path.utf8[...]
    while rest.starts(with: "./".utf8) { rest = rest.dropFirst(2).drop { $0 == slash } }
    if rest.isEmpty || rest.elementsEqual(".".utf8) { return directory }
    let bytes = Array(directory.utf8) + (directory.utf8.last == slash ? [] : [slash]) + rest
    return String(decoding: bytes, as: UTF8.self)
  }

  private static func currentDirectory() throws(APIError) -> String {
    guard let buffer = getcwd(nil, 0) else {
      throw APIError(
        .ioError, "The current directory is not known: \(String(cString: strerror(errno)))", remedy: "Give absolute paths")
    }
    defer { free(buffer) }
    return String(cString: buffer)
  }
}

/// What every command that talks to the server understands.
struct ClientOptions: ParsableArguments {
  @Option(help: ArgumentHelp("The server's control socket; else the variable SPACEPORT_CONTROL, else the default.", valueName: "socket"))
  var control: String?

  @Flag(help: "Print JSON.")
  var json = false

  /// The server's storage.
  func storage() throws(APIError) -> any StorageBackend {
    let paths = DefaultPaths.current
    let socket = try Paths.absolute(paths.controlSocket(option: control))
    try paths.checkControlSocket(socket)
    return ManagementClient(socketPath: socket)
  }

  /// A command to be typed, for the same server.
  func command(_ words: String) -> String { "spaceport \(words)" + (control.map { " --control \(Self.quoted($0))" } ?? "") }

  /// As a shell takes it for one word.
  private static func quoted(_ word: String) -> String {
    let isPlain = !word.isEmpty && word.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "/._-+:=,@".contains($0)) }
    return isPlain ? word : "'" + word.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
  }

  /// Prints an object, as JSON or as the given text.
  func show(_ object: some Encodable, as text: @autoclosure () -> String) throws(APIError) {
    try Terminal.write(json ? JSON.text(object) : text())
  }
}
