import Testing

@testable import NBDServer

/// How client and server talk in the transmission phase: most rules hold in all of them.
enum Mode: String, CaseIterable, CustomTestStringConvertible {
  case simple, structured, extended

  var testDescription: String { rawValue }
  var hasChunks: Bool { self != .simple }

  static let withChunks: [Mode] = [.structured, .extended]

  /// The option that leads there.
  var option: UInt32? {
    switch self {
    case .simple: nil
    case .structured: 8
    case .extended: 11
    }
  }
}

/// What the server broke of the protocol.
struct Violation: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

func require(_ condition: Bool, _ rule: @autoclosure () -> String) throws {
  if !condition { throw Violation(rule()) }
}
