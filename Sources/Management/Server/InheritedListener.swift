import HummingbirdCore
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle
import Synchronization

/// Answers the clients of a listening socket that a service manager has opened, in the way of the server that it stands beside.
struct InheritedListener: Service {
  /// Belongs to the listener.
  let descriptor: Int32
  /// Known once the server beside it runs; nil when that has not come to it.
  let channel: FirstAnswer<HTTP1Channel?>
  let logger: Logger

  func run() async throws {
    let known = await withTaskCancellationOrGracefulShutdownHandler {
      await channel.wait()
    } onCancelOrGracefulShutdown: {
      channel.give(nil)
    }
    guard let http = known else { return }
    let listener = try await ServerBootstrap(group: ManagementThread.group)
      .serverChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          let limit = MaximumAvailableConnections.maximum(Limits.connectionCount, logger: logger)
          try channel.pipeline.syncOperations.addHandler(AvailableConnectionsChannelHandler(delegate: limit))
        }
      }
      .childChannelOption(ChannelOptions.allowRemoteHalfClosure, value: true)
      .bind(descriptor) { http.setup(channel: $0, logger: logger) }
    try await withGracefulShutdownHandler {
      try await listener.executeThenClose { clients in
        try await withThrowingDiscardingTaskGroup { tasks in
          for try await client in clients { tasks.addTask { await serve(client, http) } }
        }
      }
    } onGracefulShutdown: {
      listener.channel.close(promise: nil)
    }
  }

  /// At a stop the call under way is answered, and the connection closed.
  private func serve(_ client: HTTP1Channel.Value, _ http: HTTP1Channel) async {
    await withGracefulShutdownHandler {
      await http.handle(value: client, logger: logger)
    } onGracefulShutdown: {
      client.channel.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent())
    }
  }
}
