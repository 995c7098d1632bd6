import CLinux
import CTLS
import Logging
import Reactor

/// What all TLS sessions of a server share: its keys, and a thread for what would hold up a reactor, which is reading files and the
/// computations of a handshake (a signature takes a millisecond or more).
///
/// Certificates that were renewed are used without a restart: each handshake looks whether the files have changed. New ones that cannot be
/// used are reported, and the old ones stay.
public final class TLSContext: @unchecked Sendable {  // what is var is touched on its thread only, once it is made
  public let configuration: TLSConfiguration
  private let thread: BlockingCalls
  private let logger: Logger
  private var credentials: TLSCredentials
  /// Of the files that `credentials` came from, or could not be made of.
  private var stamps: [FileStamp?]
  /// What is wrong with the files since they changed, in sentences.
  private var troubles: [String] = []
  /// What is wrong with the server's certificate, which time may bring about.
  private var flaw: String?

  /// Reads and checks all files.
  public init(_ configuration: TLSConfiguration, logger: Logger = Logger(label: "tls")) throws(TLSError) {
    self.configuration = configuration
    self.logger = logger
    guard configuration.certificateDirectory != nil || configuration.pskFile != nil else {
      throw TLSError("TLS needs certificates or pre-shared keys. Give --tls-certificates DIR or --tls-psk FILE.")
    }
    if let pskFile = configuration.pskFile { try PSKFile.check(pskFile) }
    stamps = FileStamp.all(of: configuration)
    credentials = try TLSCredentials(configuration, needsRevocations: false)
    do { thread = try BlockingCalls.start(name: "tls") } catch { throw TLSError(error.description) }
    noteFlaw()
  }

  /// A session for one client, by the keys as they are now; nil when there is no memory for it.
  func makeSession() async -> TLSSession? {
    await thread.perform { [self] in
      reloadIfChanged()
      return TLSSession(credentials)
    }
  }

  /// Goes on with the handshake, on the thread.
  func handshake(_ session: TLSSession) async -> TLSSession.Progress { await thread.perform { session.handshake() } }

  /// What is wrong with the files as they are now, in sentences; the operator is shown it until it is mended.
  public func currentTroubles() async -> [String] {
    await thread.perform { [self] in
      reloadIfChanged()
      noteFlaw()
      return troubles + (flaw.map { [$0] } ?? [])
    }
  }

  private func noteFlaw() {
    let former = flaw
    flaw = credentials.flaw.map { reason in
      let path = configuration.path(TLSConfiguration.FileName.certificate) ?? ""
      return "Clients that verify the server refuse it: its certificate \(path) \(reason). Put another in its place."
    }
    if let flaw, flaw != former { logger.warning("\(flaw)") }
  }

  private func reloadIfChanged() {
    let now = FileStamp.all(of: configuration)
    if now == stamps { return }
    stamps = now
    troubles = []
    // GnuTLS reads these keys itself, and tells nobody why it refuses a client.
    if let pskFile = configuration.pskFile {
      do throws(TLSError) { try PSKFile.check(pskFile) } catch {
        troubles.append("The pre-shared keys have changed and cannot be used: their users are refused. \(error)")
      }
    }
    do throws(TLSError) {
      credentials = try TLSCredentials(configuration, needsRevocations: credentials.hasRevocations)
      logger.info("the TLS files have changed and are read again")
    } catch {
      // Without the pre-shared keys there is nothing new to be had, and nothing wrong with the certificates.
      if troubles.isEmpty { troubles.append("The TLS certificates have changed and cannot be used; the old ones stay. \(error)") }
    }
    for trouble in troubles { logger.warning("\(trouble)") }
    noteFlaw()
  }
}

/// Keys and certificates, read from their files.
final class TLSCredentials: @unchecked Sendable {  // never changes once made
  let pointer: OpaquePointer
  /// Certificates that were revoked are refused.
  let hasRevocations: Bool

  /// - Parameter needsRevocations: there were some. That their file is gone, or hidden by a mistake in its directory's mode, must not let those
  ///   clients in again: without it these files are no good.
  init(_ configuration: TLSConfiguration, needsRevocations: Bool) throws(TLSError) {
    var copies: [UnsafeMutablePointer<CChar>] = []
    defer { for copy in copies { free(copy) } }
    func copy(_ text: String?) -> UnsafePointer<CChar>? {
      guard let text, let copy = strdup(text) else { return nil }
      copies.append(copy)
      return UnsafePointer(copy)
    }
    let revocations = configuration.path(TLSConfiguration.FileName.revocations)
    let isAbsent = revocations.map { TLSCredentials.isAbsent($0) } ?? true
    hasRevocations = revocations != nil && (needsRevocations || !isAbsent)
    if let revocations, hasRevocations, isAbsent {
      throw TLSError(
        "\(revocations) is gone, and who was revoked would be let in again. Put it back; to take all revocations back, put an empty list of the "
          + "authority there (certtool --generate-crl).")
    }
    var files = ctls_files(
      authorities: copy(configuration.path(TLSConfiguration.FileName.authorities)),
      certificate: copy(configuration.path(TLSConfiguration.FileName.certificate)),
      key: copy(configuration.path(TLSConfiguration.FileName.key)),
      revocations: hasRevocations ? copy(revocations) : nil, psk: copy(configuration.pskFile),
      verify_peer: configuration.verifiesPeer)
    var message = [CChar](repeating: 0, count: Int(CTLS_TEXT_BYTES))
    let priority = configuration.pskFile == nil ? TLSLimits.priority : TLSLimits.priorityWithPSK
    guard let pointer = ctls_credentials_load(&files, priority, &message) else {
      // GnuTLS ends some of its messages with a full stop or two.
      let reason = String(String(cText: message).reversed().drop { $0 == "." }.reversed())
      throw TLSError(
        "TLS cannot be had with these files: \(reason). Check that each is there, readable for this user, and PEM, and that the key is the "
          + "certificate's.")
    }
    self.pointer = pointer
  }

  deinit { ctls_credentials_free(pointer) }

  /// Why clients that verify the server's certificate would refuse it now; nil where they would not, or there is none.
  var flaw: String? {
    var text = [CChar](repeating: 0, count: Int(CTLS_TEXT_BYTES))
    return ctls_certificate_flaw(pointer, Int64(time(nil)), &text) ? String(cText: text) : nil
  }

  /// Certainly not there; one that cannot be looked at may be.
  private static func isAbsent(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) != 0 && clinux_errno() == ENOENT
  }
}

/// How a file is known to be another than before.
private struct FileStamp: Equatable {
  var inode: UInt
  var byteCount: Int
  var seconds: Int
  var nanoseconds: Int

  /// nil when it cannot be looked at.
  init?(_ path: String) {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    inode = UInt(status.st_ino)
    byteCount = Int(status.st_size)
    seconds = status.st_mtim.tv_sec
    nanoseconds = status.st_mtim.tv_nsec
  }

  static func all(of configuration: TLSConfiguration) -> [FileStamp?] {
    let names = TLSConfiguration.FileName.self
    let certificates = [names.authorities, names.certificate, names.key, names.revocations].map { configuration.path($0) }
    return (certificates + [configuration.pskFile]).map { $0.flatMap { FileStamp($0) } }
  }
}
