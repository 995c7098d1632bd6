/// What one client may ask of the server. Each is a back-stop against a client that is broken or hostile; an honest one meets none of them
/// except the two of the transmission phase, which slow it down instead of refusing it.
public struct NBDLimits: Sendable {
  /// Connections at the same time. For one more the oldest that is still in its handshake goes: who is quick to say what it wants is not kept out
  /// by who says nothing. Where all have an export open, it is accepted and closed at once. An idle one costs some 25 KiB, by TLS 35, so that 1000
  /// of them stay far below 64 MiB.
  public var connections = 1000
  /// From the connection's first byte to the end of the handshake: a person's patience, and long for a network. Milliseconds.
  public var handshakeMilliseconds: UInt64 = 10_000
  /// Options in one handshake, and the bytes of their data together. Clients that list exports ask up to three times for each, in one session
  /// (`qemu-nbd --list`), with a few hundred bytes; the time limit ends what goes on for ever.
  public var options = 4096
  public var optionByteCount = 2 << 20
  /// Requests in flight for one connection: the queue depth of the kernel client. More are left unread in the socket.
  public var requestsInFlight = 128
  /// Payload bytes in flight for one connection: two of the largest requests, so that one is received while the other is worked on. More are
  /// left unread in the socket.
  public var bytesInFlight = 64 << 20
  /// Requests in flight for all connections together: 128 connections with full queues. Each may have a slot and its task, 2 KiB, which are 32 MiB
  /// in all. More are left unread in the sockets, and each connection gets its turn (`InFlightBudget`).
  public var requestsInFlightInAll = 16_384
  /// Payload bytes in flight for all connections together, counted as the buffers that they lie in: what the reactor has of these (256 MiB), less
  /// 16 MiB that pools need for their metadata whatever clients do. More are left unread as well.
  public var bytesInFlightInAll = 240 << 20
  /// While others have waited this long for their turn, transfers have to go on at `pressedBytesPerSecond`. Milliseconds.
  public var patienceMilliseconds: UInt64 = 1000
  /// Of a transfer that has lasted 2 s while others wait: a client that sends a payload or takes its replies more slowly is cut off. 32 MiB in two
  /// minutes, which every network manages that anybody would put a disk behind; nobody holds the memory for longer.
  public var pressedBytesPerSecond: UInt64 = 256 << 10
  public var pressedMilliseconds: UInt64 = 2000
  /// A connection that has asked for nothing for so long gives back what its busier times have made: slots, tasks and buffers. Milliseconds.
  public var idleMilliseconds: UInt64 = 10_000
  /// How long a transfer that has begun may stand still before the connection is closed, because it holds buffers that others wait for:
  /// a payload that does not come, a reply that is not read. Milliseconds; a client that is idle between requests is never closed.
  public var stallMilliseconds: UInt64 = 60_000
  /// How long `stop` waits for requests in flight before it closes their connections all the same. Below systemd's 90 s. Milliseconds.
  public var stopMilliseconds: UInt64 = 30_000
  /// How long a TCP connection that the server ends is read on, so that unread requests do not turn the last replies into a reset. Milliseconds.
  public var lingerMilliseconds: UInt64 = 1000
  /// How often the time limits are looked at. Milliseconds.
  public var watchMilliseconds: UInt64 = 500

  public static let standard = NBDLimits()
  public init() {}
}

/// Limits of the protocol itself and of memory per message; nothing to configure.
enum WireLimits {
  /// The largest READ or WRITE payload: every client must be allowed it (protocol text), and none asks for more. Bytes.
  static let payloadByteCount: UInt64 = 32 << 20
  /// A WRITE longer than allowed is skipped and refused up to here; beyond, the connection is closed: nobody reads 4 GiB to throw it away. Bytes.
  static let skippedPayloadByteCount: UInt64 = 64 << 20
  /// Names, descriptions and messages, as the protocol text says. Bytes of UTF-8.
  static let stringByteCount = 4096
  /// Data of one option: holds a name and thousands of information requests. A longer one closes the connection. Bytes.
  static let optionByteCount = 64 << 10
  /// What one receive can take of requests to come: 2340 headers, or 15 small writes. Copying 4 KiB out of here into their buffer costs a
  /// tenth of what a receive of their own costs (measured: 14.8 us a write with 1792 bytes, 10.5 with 16 KiB, 8.9 with 64 KiB, and no less
  /// with more). Only pages that were used are in memory. Bytes.
  static let stagingByteCount = 64 << 10
  /// From this size on a payload is worth a receive of its own, and no bytes of the next are taken along but for a few headers. Bytes.
  static let largePayloadByteCount = 32 << 10
  static let headersBehindLargePayload = 64
  /// Chunks of one READ: a few holes between data; what is cut up more is sent as data from there on.
  static let readParts = 8
  /// Extents of one BLOCK_STATUS and context: with both contexts and 64-bit lengths they fit in one small payload buffer. The protocol allows
  /// 2^20; a client asks again for what is missing.
  static let statusExtents = 1000
  /// What BLOCK_STATUS replies are put together in. Bytes.
  static let statusReplyByteCount = 32 << 10
  /// CACHE reads so much at a time: long enough for disks, short enough that many connections may do it. Bytes; a power of two.
  static let cachePieceByteCount: UInt64 = 256 << 10
  /// TRIM, WRITE_ZEROES, BLOCK_STATUS and CACHE of more than this may look through thousands of rows, and only so many of a kind do so at a time
  /// on one virtual disk. Bytes.
  static let longRangeByteCount: UInt64 = 64 << 20
  static let longChanges = 4
  static let longLooks = 2
  /// Stretches of zeros that CACHE passes over before others get their turn.
  static let cacheHolesPerTurn = 1000
  /// All that it passes over, at most: 64 GiB and more of a virtual disk, and some milliseconds of the reactor.
  static let cacheHoles = 65_536
  /// Of what a client has said, in a line of the log. Characters.
  static let loggedTextCount = 200
  /// The words that go with an error. Bytes of ASCII.
  static let errorMessageByteCount = 256
  /// Headers of one reply in chunks: a READ's with what is not payload, or an error with its words and place. Bytes.
  static let chunkHeadersByteCount = max(
    readParts * (ChunkHeader.longestByteCount + ChunkHeader.longestContentByteCount),
    ChunkHeader.longestByteCount + ChunkHeader.errorByteCount(messageByteCount: errorMessageByteCount, hasOffset: true))
  /// Replies in one send: a whole queue.
  static let repliesPerSend = 128
  /// A READ whose disk was given up is asked again so often, each time with another buffer, before the client is told EIO. Each time is one
  /// more disk lost under one request: with three copies there is no fourth to lose.
  static let stalledReadRetries = 3
  /// The least that a payload counts in what all connections have in flight: the buffers that there are enough of. Bytes; a power of two.
  static let leastCharge = 64 << 10
  /// Above this a request waits in the queue of the large ones: most clients send no larger ones. Bytes.
  static let largeCharge = 1 << 20
  /// Connections that were closed to make room and are not gone yet; they hold their descriptors until what they wait for has come.
  static let evictedConnections = 64
  /// So many slots that idle connections gave back are worth asking the allocator to let the system have their memory: some 2 MiB.
  static let slotsWorthATrim = 256
  /// Large buffers that are kept beyond what was needed lately. Bytes.
  static let keptBufferByteCount = 8 << 20
  /// Memory that skipped payloads are received into. Bytes.
  static let skipByteCount = 64 << 10
  /// Memory that is read into what a client sends after the end. Bytes.
  static let lingerReadByteCount = 4096
  /// The largest minimum block size a server may advertise (protocol text). Bytes.
  static let minimumBlockByteCount = 64 << 10
  /// The longest path of a Unix socket, without the closing zero (`sun_path` of unix(7) is 108 with it). Bytes.
  static let socketPathByteCount = 107
  /// Connections that wait to be accepted: what the system allows by default. On a Unix socket a connect that may not wait, as libnbd's, fails
  /// where the queue is full, so a short one would let a crowd of others keep a client out.
  static let listenBacklog: Int32 = 4096
  /// Rest after a failed accept (too many open files): whoever waits is not lost, and the log is not flooded. Milliseconds.
  static let acceptRetryMilliseconds: UInt64 = 100
  /// How often sessions that were told to end are looked at, by whoever waits for their end. Milliseconds.
  static let sessionEndLookMilliseconds: UInt64 = 5
  /// TCP keep-alive: a client that lost its power is noticed after idle + interval * probes seconds.
  static let keepAliveIdleSeconds: Int32 = 60
  static let keepAliveIntervalSeconds: Int32 = 10
  static let keepAliveProbes: Int32 = 6
}

/// When the receiver rests before it takes more requests (`ReceivePacing`). Counts are of receives, so that a phase takes milliseconds where much is
/// asked for.
enum PacingLimits {
  /// A rest: the work of a fast client on five replies. Nanoseconds. Of 30, 50, 80 and 120 us this one left clients the most requests a second; the
  /// longer ones made the server cheaper by no more than 6 %.
  static let restNanoseconds: UInt64 = 50_000
  static let plainReceives: UInt64 = 256
  static let trialReceives: UInt64 = 64
  static let restingReceives: UInt64 = 2048
  /// Until it is tried again: at first, and at most, after one trial after the other that did not pay.
  static let pauseReceives: UInt64 = 512
  static let longestPauseReceives: UInt64 = 8192
  /// So many requests with one receive are worth it without a rest.
  static let largeBatch: UInt64 = 6
  /// A rest pays when it makes requests slower by no more than one part of so many: what cannot be told from chance.
  static let toleratedLoss: UInt64 = 32
}

/// What TLS may cost, and what it must be at least.
enum TLSLimits {
  /// TLS 1.2 and 1.3, with forward secrecy: a key that is stolen later opens nothing that was recorded before. Ciphers with authentication, and
  /// before the others the one that processors have instructions for.
  static let priority =
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-CIPHER-ALL:+AES-256-GCM:+AES-128-GCM:+CHACHA20-POLY1305:%SERVER_PRECEDENCE"
  /// The same, with pre-shared keys beside certificates; those of plain PSK have no forward secrecy.
  static let priorityWithPSK = priority + ":+ECDHE-PSK:+DHE-PSK"
  /// The most that one record holds (RFC 8446, 5.1). Bytes.
  static let recordByteCount = 16 << 10
  /// What one receive takes from the network: four records, so that a large payload costs a quarter of the receives. A connection's own; only
  /// pages that were used are in memory. Bytes.
  static let inputByteCount = 68 << 10
  /// What one send gives to the network: four records, each with its overhead of up to 2053 bytes, and a key update. A connection's own. Bytes.
  static let outputByteCount = 80 << 10
  /// A file of pre-shared keys is no longer: 10,000 users. GnuTLS reads it through at each handshake. Bytes.
  static let pskFileByteCount = 1 << 20
}
