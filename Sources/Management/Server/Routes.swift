import HTTPTypes
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore

/// Which call does what. All lie under /v1; a change that old clients would misread gets a new number.
struct Routes: Sendable {
  typealias Context = ControlContext

  let backend: any StorageBackend
  let limits: ManagementServer.CallLimits
  let access: ControlAccess
  let logger: Logger

  func makeRouter() -> Router<Context> {
    let router = Router(context: Context.self)
    router.add(middleware: ErrorAnswers(logger: logger))
    router.add(middleware: PeerCheck(access: access))
    let version1 = router.group("v1")
    addServerRoutes(to: version1)
    addPoolRoutes(to: version1)
    addDiskRoutes(to: version1)
    addJobRoutes(to: version1)
    addVirtualDiskRoutes(to: version1)
    addPartitionRoutes(to: version1)
    addExportRoutes(to: version1)
    addVolumeRoutes(to: version1)
    return router
  }

  private func addServerRoutes(to group: RouterGroup<Context>) {
    let backend = backend
    group.get("status") { request, _ in
      try await answer(request) { () throws(APIError) in try await backend.status() }
    }
    group.get("disks") { request, _ in
      try await answer(request) { () throws(APIError) in try await backend.disks() }
    }
    group.get("stack") { request, _ in
      try await answer(request) { () throws(APIError) in try await backend.stack(of: nil) }
    }
    group.get("stack/:pool/:vdisk") { request, context in
      let path = try Self.virtualDiskPath(context)
      return try await answer(request) { () throws(APIError) in try await backend.stack(of: path) }
    }
  }

  private func addPoolRoutes(to group: RouterGroup<Context>) {
    let backend = backend
    group.get("pools") { request, _ in
      try await answer(request) { () throws(APIError) in try await backend.pools() }
    }
    group.post("pools") { request, _ in
      let body = try await read(CreatePool.self, from: request)
      return try await answer(request, slow: true) { () throws(APIError) in try await backend.createPool(body) }
    }
    group.post("open-pools") { request, _ in
      let body = try await read(OpenPools.self, from: request)
      guard body.disks.isEmpty != (body.scanDirectory == nil) else {
        throw APIError(.badRequest, "Neither disks nor a directory to scan were named, or both", remedy: "Name either")
      }
      if body.readOnly == true && body.acceptLosses?.isEmpty == false {
        throw APIError(
          .badRequest, "A pool that is only read goes on without any disk as it is", remedy: "Leave out the disks that are declared lost")
      }
      return try await answer(request, slow: true) { () throws(APIError) in try await backend.openPools(body) }
    }
    group.get("pools/:pool") { request, context in
      let name = try Self.parameter("pool", context)
      return try await answer(request) { () throws(APIError) in try await backend.pool(named: name) }
    }
    group.delete("pools/:pool") { request, context in
      let name = try Self.parameter("pool", context)
      return try await answer(request, slow: true) { () throws(APIError) in
        try await backend.destroyPool(named: name)
        return Done(action: "destroyed", kind: "pool", name: name)
      }
    }
    group.get("pools/:pool/check") { request, context in
      let name = try Self.parameter("pool", context)
      return try await answer(request, slow: true) { () throws(APIError) in try await backend.checkPool(named: name) }
    }
    group.post("pools/:pool/close") { request, context in
      let name = try Self.parameter("pool", context)
      return try await answer(request, slow: true) { () throws(APIError) in
        try await backend.closePool(named: name)
        return Done(action: "closed", kind: "pool", name: name)
      }
    }
  }

  private func addVirtualDiskRoutes(to group: RouterGroup<Context>) {
    let backend = backend
    group.get("vdisks") { request, _ in
      try await answer(request) { () throws(APIError) in try await backend.virtualDisks(ofPool: nil) }
    }
    group.post("vdisks") { request, _ in
      let body = try await read(CreateVirtualDisk.self, from: request)
      return try await answer(request, slow: true) { () throws(APIError) in try await backend.createVirtualDisk(body) }
    }
    group.get("vdisks/:pool") { request, context in
      let pool = try Self.parameter("pool", context)
      return try await answer(request) { () throws(APIError) in try await backend.virtualDisks(ofPool: pool) }
    }
    group.get("vdisks/:pool/:vdisk") { request, context in
      let path = try Self.virtualDiskPath(context)
      return try await answer(request) { () throws(APIError) in try await backend.virtualDisk(at: path) }
    }
    group.delete("vdisks/:pool/:vdisk") { request, context in
      let path = try Self.virtualDiskPath(context)
      return try await answer(request, slow: true) { () throws(APIError) in
        try await backend.deleteVirtualDisk(at: path)
        return Done(action: "deleted", kind: "virtualDisk", name: "\(path)")
      }
    }
    group.post("vdisks/:pool/:vdisk/resize") { request, context in
      let path = try Self.virtualDiskPath(context)
      let body = try await read(ResizeVirtualDisk.self, from: request)
      return try await answer(request, slow: true) { () throws(APIError) in try await backend.resizeVirtualDisk(at: path, body) }
    }
    group.post("vdisks/:pool/:vdisk/set") { request, context in
      let path = try Self.virtualDiskPath(context)
      let body = try await read(SetVirtualDisk.self, from: request)
      return try await answer(request, slow: true) { () throws(APIError) in try await backend.setVirtualDisk(at: path, body) }
    }
  }

  /// A part of the route that names an object, decoded (RFC 3986, section 2.1).
  static func parameter(_ name: String, _ context: Context) throws(APIError) -> String {
    guard let value = context.parameters.get(name).flatMap(PercentEncoding.decode), !value.isEmpty else {
      throw APIError(.badRequest, "The \(name) in the route is not percent-encoded UTF-8", remedy: "Encode it as RFC 3986 says")
    }
    return value
  }

  static func virtualDiskPath(_ context: Context) throws(APIError) -> VirtualDiskPath {
    VirtualDiskPath(pool: try parameter("pool", context), name: try parameter("vdisk", context))
  }

  /// Reads a request's JSON body, within the limits of size and time.
  func read<Body: Decodable & Sendable>(_ type: Body.Type, from request: Request) async throws -> Body {
    let limits = limits
    // A reader that is cancelled returns at once. It has to be waited for, because the connection's loop reads the same body on.
    let bytes = try await withThrowingTaskGroup(of: ByteBuffer?.self) { tasks in
      tasks.addTask { try await request.body.collect(upTo: limits.requestBodyByteCount) }
      tasks.addTask {
        try await Task.sleep(for: .seconds(limits.callTimeoutSeconds))
        return nil
      }
      defer { tasks.cancelAll() }
      return try await tasks.next() ?? nil
    }
    guard let bytes else {
      throw APIError(
        .timedOut, "The request's body did not arrive within \(limits.callTimeoutSeconds) seconds", remedy: "Send it whole, and sooner")
    }
    do {
      return try JSON.decode(type, from: bytes.readableBytesView)
    } catch {
      throw APIError(
        .badRequest, "The request's body can't be read: \(JSON.explain(error))",
        remedy: "Send the JSON of a \(type); if spaceport sent it, use the same version as the server's")
    }
  }

  /// Runs a call within its time limit and answers with what it returns.
  func answer<Value: Encodable & Sendable>(
    _ request: Request, slow: Bool = false, _ call: @escaping @Sendable () async throws(APIError) -> Value
  ) async throws -> Response {
    let seconds = slow ? limits.slowCallTimeoutSeconds : limits.callTimeoutSeconds
    let late = APIError(
      .timedOut, "The server did not finish \(request.method) \(request.uri.path) within \(seconds) seconds",
      remedy: slow
        ? "It may still be at work: look with spaceport status and spaceport pool list before trying again"
        : "Look at the server's log; a disk that doesn't answer is the usual cause")
    let value = try await TimeLimit.run(seconds: seconds, late: late, call)
    return Response.json(status: .ok, bytes: try JSON.encode(value))
  }
}

extension Response {
  static func json(status: HTTPResponse.Status, bytes: [UInt8]) -> Response {
    Response(status: status, headers: [.contentType: "application/json"], body: ResponseBody(byteBuffer: ByteBuffer(bytes: bytes)))
  }
}

/// Answers every failure with the JSON of an `APIError`.
struct ErrorAnswers: RouterMiddleware {
  typealias Context = ControlContext

  let logger: Logger

  func handle(_ request: Request, context: Context, next: (Request, Context) async throws -> Response) async throws -> Response {
    // What changes something belongs into the log, what only looks doesn't.
    let level: Logger.Level = request.method == .get ? .debug : .info
    do {
      let response = try await next(request, context)
      logger.log(level: level, "Call done", metadata: ["call": "\(request.method) \(request.uri.path)"])
      return response
    } catch let error as APIError {
      logger.log(level: level, "Call refused", metadata: ["call": "\(request.method) \(request.uri.path)", "error": "\(error)"])
      return try answer(error)
    } catch is NIOTooManyBytesError {
      return try answer(APIError(.tooLarge, "The request's body is larger than this server reads", remedy: "Name fewer disks in one call"))
    } catch let error as HTTPError where error.status == .notFound {
      return try answer(
        APIError(
          .notFound, "This server has no call \(request.method) \(request.uri.path)",
          remedy: "If spaceport sent it, use the same version as the server's, \(spaceportVersion)"))
    } catch {
      logger.error("Call failed", metadata: ["call": "\(request.method) \(request.uri.path)", "error": "\(error)"])
      return try answer(APIError(.internalError, "The call failed: \(error)", remedy: "Report this as a fault of spaceport"))
    }
  }

  private func answer(_ error: APIError) throws(APIError) -> Response {
    Response.json(status: HTTPResponse.Status(code: error.httpStatus), bytes: try JSON.encode(error))
  }
}
