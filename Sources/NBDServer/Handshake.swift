import Reactor

/// The first phase of a connection: options and replies until the client has an export, or leaves.
struct Handshake {
  let socket: ClientSocket
  let directory: any ExportDirectory
  let tls: TLSContext?
  let limits: NBDLimits
  var negotiated = Negotiated()
  /// Who asks; TLS may make more of it known.
  var client: ClientIdentity
  /// Why TLS failed, for the log.
  var failure: String?
  /// What it was not given last, and why, for the log.
  var refusal: (export: String, reason: String)?

  init(socket: ClientSocket, directory: any ExportDirectory, client: ClientIdentity, tls: TLSContext?, limits: NBDLimits) {
    self.socket = socket
    self.directory = directory
    self.client = client
    self.tls = tls
    self.limits = limits
  }

  /// Where the conversation stands after an option.
  enum Step {
    case nextOption
    case transmission(any Export)
    case end
  }

  /// The export that was agreed on, open; nil when the connection is to be closed. Nothing is read beyond the client's last option.
  mutating func run() async -> (any Export)? {
    guard await socket.sendAll(OptionReplies.greeting()), await receiveClientFlags() else { return nil }
    let header = UnsafeMutableRawBufferPointer.allocate(byteCount: OptionHeader.byteCount, alignment: 8)
    defer { header.deallocate() }
    var bytesLeft = limits.optionByteCount
    for _ in 0..<limits.options {
      guard await socket.receiveExactly(header), let option = OptionHeader.decode(UnsafeRawBufferPointer(header)) else { return nil }
      // What is too long is refused with words.
      bytesLeft -= min(Int(option.dataByteCount), WireLimits.optionByteCount)
      if bytesLeft < 0 { return nil }
      switch await handle(option) {
      case .nextOption: continue
      case .transmission(let export): return export
      case .end: return nil
      }
    }
    return nil
  }

  private mutating func receiveClientFlags() async -> Bool {
    let field = UnsafeMutableRawBufferPointer.allocate(byteCount: 4, alignment: 4)
    defer { field.deallocate() }
    guard await socket.receiveExactly(field) else { return false }
    let raw = UInt32(bigEndian: field.loadUnaligned(as: UInt32.self))
    guard let low = UInt16(exactly: raw) else { return false }
    let flags = HandshakeFlags(rawValue: low)
    guard flags.isSubset(of: [.fixedNewstyle, .noZeroes]) else { return false }  // a client that knows more than was offered
    negotiated.isFixedNewstyle = flags.contains(.fixedNewstyle)
    negotiated.noZeroes = flags.contains(.noZeroes)
    return true
  }

  private mutating func handle(_ header: OptionHeader) async -> Step {
    guard header.dataByteCount <= UInt32(WireLimits.optionByteCount) else {
      // EXPORT_NAME has no error reply: its client would take one for the export's size.
      if header.number != OptionNumber.exportName.rawValue {
        _ = await refuse(header.number, OptionRefusal(replyType: .errorTooBig, message: "the option is too long"))
      }
      return .end
    }
    let data = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(header.dataByteCount), alignment: 8)
    defer { data.deallocate() }
    guard await socket.receiveExactly(data) else { return .end }
    // Replaces what was selected before, also where it fails.
    if header.number == OptionNumber.setMetaContext.rawValue { negotiated.metaContexts = MetaContextSelection() }
    do throws(OptionRefusal) {
      try checkTLS(header.number)
      return await answer(try OptionParser.parse(number: header.number, data: UnsafeRawBufferPointer(data)))
    } catch {
      if header.number == OptionNumber.exportName.rawValue { return .end }  // this option has no error reply
      return await refuse(header.number, error)
    }
  }

  private mutating func answer(_ option: ClientOption) async -> Step {
    switch option {
    case .abort:
      _ = await socket.sendAll(OptionReplies.reply(to: OptionNumber.abort.rawValue, .acknowledge))
      return .end
    case .list:
      return await list() ? .nextOption : .end
    case .startTLS:
      return await startTLS()
    case .info(let query):
      return await inform(query)
    case .go(let query):
      negotiated.keepsToBlockSizes = query.wantsBlockSize
      let negotiated = negotiated
      return await open(query.name, refusedFor: .go) { OptionReplies.information(for: .go, $0, query, negotiated) }
    case .exportName(let name):
      if negotiated.style == .extended { return .end }  // GO alone goes with extended headers
      negotiated.keepsToBlockSizes = false
      let negotiated = negotiated
      return await open(name, refusedFor: nil) { OptionReplies.exportName($0, negotiated) }
    case .structuredReply: return await agreeOnStructuredReplies()
    case .extendedHeaders: return await agreeOnExtendedHeaders()
    case .listMetaContexts(let query): return await listMetaContexts(query)
    case .setMetaContexts(let query): return await selectMetaContexts(query)
    }
  }

  /// Sent as it is gathered: a client that does not read keeps a piece of it in memory, not all.
  private func list() async -> Bool {
    var isSent = true
    await directory.listExports(for: client) { names in
      isSent = await socket.sendAll(OptionReplies.servers(names))
      return isSent
    }
    return isSent ? await socket.sendAll(OptionReplies.reply(to: OptionNumber.list.rawValue, .acknowledge)) : false
  }

  private mutating func inform(_ query: ExportQuery) async -> Step {
    do throws(ExportError) {
      let export = try await directory.describeExport(named: query.name, for: client)
      return await socket.sendAll(OptionReplies.information(for: .info, export, query, negotiated)) ? .nextOption : .end
    } catch {
      refusal = (query.name, error.description)
      return await refuse(.info, error)
    }
  }

  /// Opens the export and sends the answer; an export whose client did not get that is closed again.
  private mutating func open(_ name: String, refusedFor option: OptionNumber?, _ reply: (ExportDescription) -> [UInt8]) async -> Step {
    do throws(ExportError) {
      let export = try await directory.openExport(named: name, for: client)
      if await socket.sendAll(reply(export.exportDescription)) { return .transmission(export) }
      export.close()
      return .end
    } catch {
      refusal = (name, error.description)
      guard let option else { return .end }
      return await refuse(option, error)
    }
  }

  /// TLS_REQD is an answer to INFO and GO alone, and only where the client can do as it says.
  func refuse(_ option: OptionNumber, _ error: ExportError) async -> Step {
    var refusal = OptionRefusal(error)
    if error.reason == .tlsRequired && !(mayStartTLS && (option == .info || option == .go)) { refusal.replyType = .errorPolicy }
    return await refuse(option.rawValue, refusal)
  }

  func refuse(_ option: UInt32, _ refusal: OptionRefusal) async -> Step {
    await socket.sendAll(OptionReplies.refusal(of: option, refusal)) ? .nextOption : .end
  }
}
