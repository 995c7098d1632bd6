import NIOCore
import NIOHTTP1
import NIOPosix

/// One HTTP request over a Unix socket, and its response.
struct HTTPExchange: Sendable {
  struct Answer: Sendable {
    var status: Int
    var body: [UInt8]
  }

  /// What can go wrong beneath HTTP.
  enum Failure: Error {
    case closedEarly
    case tooLarge
    case timedOut
  }

  var method: HTTPMethod
  /// Path and query, percent-encoded.
  var target: String
  var body: [UInt8]?

  /// - Parameter seconds: the limit for the whole exchange.
  /// - Throws: `IOError` when there is no connection, `Failure`, or `HTTPParserError`.
  func run(socketPath: String, seconds: Double) async throws -> Answer {
    let eventLoop = ManagementThread.group.next()
    let answer = eventLoop.makePromise(of: Answer.self)
    let channel: any Channel
    do {
      channel = try await ClientBootstrap(group: eventLoop)
        .connectTimeout(.nanoseconds(Int64(min(seconds, Limits.connectTimeoutSeconds) * 1e9)))
        .channelInitializer { channel in
          channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHTTPClientHandlers()
            try channel.pipeline.syncOperations.addHandler(AnswerCollector(answer: answer))
          }
        }
        .connect(unixDomainSocketPath: socketPath).get()
    } catch {
      answer.fail(error)
      throw error
    }
    let timer = eventLoop.scheduleTask(in: .nanoseconds(Int64(seconds * 1e9))) {
      answer.fail(Failure.timedOut)
      channel.close(promise: nil)
    }
    send(on: channel)
    defer {
      timer.cancel()
      channel.close(promise: nil)
    }
    return try await answer.futureResult.get()
  }

  private func send(on channel: any Channel) {
    var head = HTTPRequestHead(version: .http1_1, method: method, uri: target)
    head.headers.add(name: "host", value: "localhost")
    head.headers.add(name: "connection", value: "close")
    if let body {
      head.headers.add(name: "content-type", value: "application/json")
      head.headers.add(name: "content-length", value: "\(body.count)")
    }
    // A failure to write needs no promise of its own: the connection closes, and that fails the answer. A server that refuses a body
    // before it has read all of it may answer and close, and then its answer is what counts.
    channel.write(HTTPClientRequestPart.head(head), promise: nil)
    if let body { channel.write(HTTPClientRequestPart.body(.byteBuffer(ByteBuffer(bytes: body))), promise: nil) }
    channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
  }
}

/// Gathers the parts of one response.
private final class AnswerCollector: ChannelInboundHandler {
  typealias InboundIn = HTTPClientResponsePart

  private let answer: EventLoopPromise<HTTPExchange.Answer>
  private var status = 0
  private var body: [UInt8] = []

  init(answer: EventLoopPromise<HTTPExchange.Answer>) {
    self.answer = answer
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head):
      status = Int(head.status.code)
    case .body(let part):
      guard body.count + part.readableBytes <= Limits.responseBodyByteCount else {
        answer.fail(HTTPExchange.Failure.tooLarge)
        context.close(promise: nil)
        return
      }
      body.append(contentsOf: part.readableBytesView)
    case .end:
      answer.succeed(HTTPExchange.Answer(status: status, body: body))
    }
  }

  func channelInactive(context: ChannelHandlerContext) {
    answer.fail(HTTPExchange.Failure.closedEarly)
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    answer.fail(error)
    context.close(promise: nil)
  }
}
