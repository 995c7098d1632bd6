import NIOCore
import NIOHTTP1

import Glibc

/// The storage of a running server, seen through its control socket.
public struct ManagementClient: StorageBackend {
  let socketPath: String
  let callTimeoutSeconds: Double
  let slowCallTimeoutSeconds: Double

  /// - Parameters:
  ///   - callTimeoutSeconds: how long an ordinary call is waited for.
  ///   - slowCallTimeoutSeconds: how long a call that creates, opens, closes or removes is waited for.
  public init(
    socketPath: String, callTimeoutSeconds: Double = Limits.callTimeoutSeconds + Limits.clientGraceSeconds,
    slowCallTimeoutSeconds: Double = Limits.slowCallTimeoutSeconds + Limits.clientGraceSeconds
  ) {
    self.socketPath = socketPath
    self.callTimeoutSeconds = callTimeoutSeconds
    self.slowCallTimeoutSeconds = slowCallTimeoutSeconds
  }

  public func status() async throws(APIError) -> ServerStatus { try await get("status") }
  public func disks() async throws(APIError) -> [DiskInfo] { try await get("disks") }
  public func scanDisks(_ request: ScanDisks) async throws(APIError) -> [DiskCandidateInfo] { try await post(request, "scan-disks") }
  public func pools() async throws(APIError) -> [PoolInfo] { try await get("pools") }
  public func pool(named name: String) async throws(APIError) -> PoolInfo { try await get("pools", name) }

  public func createPool(_ request: CreatePool) async throws(APIError) -> PoolInfo { try await post(request, "pools") }
  public func openPools(_ request: OpenPools) async throws(APIError) -> [PoolInfo] { try await post(request, "open-pools") }

  public func checkPool(named name: String) async throws(APIError) -> PoolCheckInfo {
    try await call(.GET, ["pools", name, "check"], slow: true)
  }

  public func closePool(named name: String) async throws(APIError) {
    let _: Done = try await call(.POST, ["pools", name, "close"], slow: true)
  }

  public func destroyPool(named name: String) async throws(APIError) {
    let _: Done = try await call(.DELETE, ["pools", name], slow: true)
  }

  public func addDisks(toPool name: String, _ request: AddDisks) async throws(APIError) -> PoolInfo {
    try await post(request, "pools", name, "disks")
  }

  public func setUsage(_ request: SetDiskUsage) async throws(APIError) -> DiskInfo { try await post(request, "disk-usage") }
  public func retireDisk(_ disk: DiskReference) async throws(APIError) -> JobInfo { try await post(disk, "retire-disk") }
  public func replaceDisk(_ request: ReplaceDisk) async throws(APIError) -> JobInfo { try await post(request, "replace-disk") }

  public func startJob(inPool name: String, _ request: StartJob) async throws(APIError) -> JobInfo {
    try await post(request, "jobs", name)
  }

  public func jobs(ofPool pool: String?) async throws(APIError) -> [JobInfo] {
    if let pool { try await get("jobs", pool) } else { try await get("jobs") }
  }

  public func cancelJob(inPool name: String, number: UInt64) async throws(APIError) {
    let _: Done = try await call(.DELETE, ["jobs", name, "\(number)"], slow: true)
  }

  public func events(ofPool pool: String?) async throws(APIError) -> [EventInfo] {
    if let pool { try await get("events", pool) } else { try await get("events") }
  }

  public func cache(ofPool pool: String? = nil) async throws(APIError) -> CacheInfo {
    if let pool { try await get("cache", pool) } else { try await get("cache") }
  }

  public func virtualDisks(ofPool pool: String?) async throws(APIError) -> [VirtualDiskInfo] {
    if let pool { try await get("vdisks", pool) } else { try await get("vdisks") }
  }

  public func virtualDisk(at path: VirtualDiskPath) async throws(APIError) -> VirtualDiskInfo {
    try await get("vdisks", path.pool, path.name)
  }

  public func createVirtualDisk(_ request: CreateVirtualDisk) async throws(APIError) -> VirtualDiskInfo {
    try await post(request, "vdisks")
  }

  public func resizeVirtualDisk(at path: VirtualDiskPath, _ request: ResizeVirtualDisk) async throws(APIError) -> VirtualDiskInfo {
    try await post(request, "vdisks", path.pool, path.name, "resize")
  }

  public func setVirtualDisk(at path: VirtualDiskPath, _ request: SetVirtualDisk) async throws(APIError) -> VirtualDiskInfo {
    try await post(request, "vdisks", path.pool, path.name, "set")
  }

  public func deleteVirtualDisk(at path: VirtualDiskPath) async throws(APIError) {
    let _: Done = try await call(.DELETE, ["vdisks", path.pool, path.name], slow: true)
  }

  public func stack(of path: VirtualDiskPath?) async throws(APIError) -> [StackNode] {
    if let path { try await get("stack", path.pool, path.name) } else { try await get("stack") }
  }

  func get<Value: Decodable>(_ route: String...) async throws(APIError) -> Value {
    try await call(.GET, route, slow: false)
  }

  func post<Value: Decodable>(_ body: some Encodable, _ route: String...) async throws(APIError) -> Value {
    try await call(.POST, route, body: try JSON.encode(body), slow: true)
  }

  /// - Parameter route: the parts of the path below /v1, not encoded.
  func call<Value: Decodable>(_ method: HTTPMethod, _ route: [String], body: [UInt8]? = nil, slow: Bool) async throws(APIError) -> Value {
    let target = (["/v1"] + route.map(PercentEncoding.encode)).joined(separator: "/")
    let answer = try await exchange(
      HTTPExchange(method: method, target: target, body: body), seconds: slow ? slowCallTimeoutSeconds : callTimeoutSeconds)
    guard (200..<300).contains(answer.status) else {
      if let error = try? JSON.decode(APIError.self, from: answer.body) { throw error }
      throw APIError(
        .internalError, "The server at \(socketPath) answered HTTP status \(answer.status) without an explanation",
        remedy: "Make sure that it is a spaceport server, and look at its log")
    }
    do {
      return try JSON.decode(Value.self, from: answer.body)
    } catch {
      throw APIError(
        .internalError, "The answer of the server at \(socketPath) can't be read: \(JSON.explain(error))",
        remedy: "Use the same version as the server's; this is \(spaceportVersion)")
    }
  }

  private func exchange(_ exchange: HTTPExchange, seconds: Double) async throws(APIError) -> HTTPExchange.Answer {
    guard socketPath.utf8.count <= Limits.socketPathByteCount else {
      throw APIError(
        .badRequest,
        "The control socket path \(socketPath) is too long: a Unix socket's path has at most \(Limits.socketPathByteCount) bytes",
        remedy: "Choose a shorter one with --control")
    }
    do {
      return try await exchange.run(socketPath: socketPath, seconds: seconds)
    } catch let error as IOError {
      throw explain(error)
    } catch HTTPExchange.Failure.timedOut {
      throw APIError(
        .timedOut, "The server at \(socketPath) did not answer within \(seconds) seconds",
        remedy: "Look at its log; it may still be at work on what it was asked")
    } catch HTTPExchange.Failure.closedEarly {
      throw closedEarly
    } catch HTTPParserError.invalidEOFState {
      throw closedEarly
    } catch HTTPExchange.Failure.tooLarge {
      throw APIError(
        .tooLarge, "The answer of the server at \(socketPath) is larger than \(ByteSize(byteCount: UInt64(Limits.responseBodyByteCount)))",
        remedy: "Ask for one pool or virtual disk")
    } catch {
      throw APIError(.internalError, "The server at \(socketPath) doesn't speak HTTP (\(error))", remedy: chooseSocket)
    }
  }

  private var closedEarly: APIError {
    APIError(
      .serverUnreachable, "The server at \(socketPath) closed the connection before it had answered",
      remedy: "It may have stopped: look at its log, and whether what was asked is done, before trying again")
  }

  private var chooseSocket: String { "Choose the control socket of a spaceport server with --control or \(DefaultPaths.controlVariable)" }

  /// What a failure to connect means, and what to do about it.
  func explain(_ error: IOError) -> APIError {
    switch error.errnoCode {
    case ENOENT, ECONNREFUSED, ENOTDIR:
      return APIError(
        .serverUnreachable, "No server answers at the control socket \(socketPath)",
        remedy: "Start one with spaceport serve (one that is starting answers when it has looked for its pools), or choose the socket of a "
          + "running one with --control or \(DefaultPaths.controlVariable)")
    case EACCES, EPERM:
      return APIError(
        .permissionDenied, "The control socket \(socketPath) may not be opened by this user",
        remedy: "Run this as the user who started the server, for root's with sudo, or choose another socket with --control or "
          + DefaultPaths.controlVariable)
    default:
      return APIError(
        .serverUnreachable, "The server at \(socketPath) can't be reached: \(Directories.errorText(error.errnoCode))", remedy: chooseSocket)
    }
  }
}
