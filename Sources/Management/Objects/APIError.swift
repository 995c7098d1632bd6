/// Why a call was refused or failed: what happened and to what, and what to do about it.
public struct APIError: Error, Codable, Sendable, Equatable {
  /// What went wrong, for programs.
  public var code: Code
  /// What happened, to what; one sentence without a full stop at its end.
  public var message: String
  /// What to do next; one sentence without a full stop at its end, or empty when there is nothing to be done.
  public var remedy: String

  public init(_ code: Code, _ message: String, remedy: String) {
    self.code = code
    self.message = message
    self.remedy = remedy
  }

  /// What went wrong, for programs. Codes may be added: a reader keeps one that it doesn't know.
  public struct Code: OpenName {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    /// The call itself was malformed: unknown route, bad JSON, a value out of its range.
    public static let badRequest = Code(rawValue: "badRequest")
    /// There is no object of that name, or no such call.
    public static let notFound = Code(rawValue: "notFound")
    /// There is an object of that name already.
    public static let alreadyExists = Code(rawValue: "alreadyExists")
    /// The object is in use: a client is connected, another server holds the disk.
    public static let busy = Code(rawValue: "busy")
    /// The object's state doesn't allow it: a pool that is starting, a read-only one.
    public static let wrongState = Code(rawValue: "wrongState")
    /// A disk carries something that would be overwritten.
    public static let diskNotEmpty = Code(rawValue: "diskNotEmpty")
    /// There is not enough room.
    public static let noSpace = Code(rawValue: "noSpace")
    /// The operating system refused access.
    public static let permissionDenied = Code(rawValue: "permissionDenied")
    /// The request body is larger than the server reads.
    public static let tooLarge = Code(rawValue: "tooLarge")
    /// This server can't do that.
    public static let notSupported = Code(rawValue: "notSupported")
    /// The call took longer than its limit.
    public static let timedOut = Code(rawValue: "timedOut")
    /// The server is stopping.
    public static let stopping = Code(rawValue: "stopping")
    /// No server answers.
    public static let serverUnreachable = Code(rawValue: "serverUnreachable")
    /// A disk or the operating system failed.
    public static let ioError = Code(rawValue: "ioError")
    /// A fault in this program.
    public static let internalError = Code(rawValue: "internalError")
  }

  /// The HTTP status (RFC 9110, section 15) that carries this error.
  public var httpStatus: Int {
    switch code {
    case .badRequest: 400
    case .permissionDenied: 403
    case .notFound: 404
    case .alreadyExists, .busy, .wrongState, .diskNotEmpty: 409
    case .tooLarge: 413
    case .notSupported: 501
    case .stopping: 503
    case .timedOut: 504
    case .noSpace: 507
    default: 500
    }
  }
}

extension APIError: CustomStringConvertible {
  /// `WHAT. REMEDY`, as it is shown to a person.
  public var description: String { remedy.isEmpty ? "\(message)." : "\(message). \(remedy)." }
}
