// The options that choose how replies look and what BLOCK_STATUS tells.

extension Handshake {
  mutating func agreeOnStructuredReplies() async -> Step {
    if negotiated.style == .extended {
      return await refuse(
        OptionNumber.structuredReply.rawValue,
        OptionRefusal(replyType: .errorExtendedHeadersRequired, message: "extended headers are in use, and include structured replies"))
    }
    negotiated.style = .structured
    return await acknowledge(.structuredReply)
  }

  mutating func agreeOnExtendedHeaders() async -> Step {
    negotiated.style = .extended
    return await acknowledge(.extendedHeaders)
  }

  private func acknowledge(_ option: OptionNumber) async -> Step {
    await socket.sendAll(OptionReplies.reply(to: option.rawValue, .acknowledge)) ? .nextOption : .end
  }

  /// The old selection is gone by now, whatever comes of this.
  mutating func selectMetaContexts(_ query: MetaContextQuery) async -> Step {
    await answer(query, .setMetaContext, query.selected) { $0.metaContexts = $1 }
  }

  mutating func listMetaContexts(_ query: MetaContextQuery) async -> Step {
    await answer(query, .listMetaContext, query.listed) { _, _ in }
  }

  private mutating func answer(
    _ query: MetaContextQuery, _ option: OptionNumber, _ contexts: MetaContextSet,
    _ keep: (inout Negotiated, MetaContextSelection) -> Void
  ) async -> Step {
    if negotiated.style == .simple {
      return await refuse(
        option.rawValue,
        OptionRefusal(replyType: .errorInvalid, message: "block status needs structured replies: ask for these first"))
    }
    let export: ExportDescription
    do throws(ExportError) { export = try await directory.describeExport(named: query.exportName, for: client) } catch {
      return await refuse(option, error)
    }
    keep(&negotiated, MetaContextSelection(contexts, of: export.name))
    return await socket.sendAll(OptionReplies.metaContexts(for: option, contexts)) ? .nextOption : .end
  }
}
