import Hummingbird

// Who may open what.

extension Routes {
  func addExportRoutes(to group: RouterGroup<Context>) {
    let backend = backend
    group.get("exports") { request, _ in
      try await answer(request) { () throws(APIError) in try await backend.exports(ofPool: nil) }
    }
    group.get("exports/:pool") { request, context in
      let pool = try Self.parameter("pool", context)
      return try await answer(request) { () throws(APIError) in try await backend.exports(ofPool: pool) }
    }
    group.get("exports/:pool/:vdisk") { request, context in
      let path = ExportPath(disk: try Self.virtualDiskPath(context))
      return try await answer(request) { () throws(APIError) in try await backend.export(at: path) }
    }
    group.get("exports/:pool/:vdisk/:partition") { request, context in
      let path = ExportPath(disk: try Self.virtualDiskPath(context), partition: try Self.parameter("partition", context))
      return try await answer(request) { () throws(APIError) in try await backend.export(at: path) }
    }
    group.post("set-export") { request, _ in
      let body = try await read(SetExportAccess.self, from: request)
      return try await answer(request, slow: true) { () throws(APIError) in try await backend.setExport(body) }
    }
    group.post("reset-export") { request, _ in
      let body = try await read(ResetExportAccess.self, from: request)
      return try await answer(request, slow: true) { () throws(APIError) in try await backend.resetExport(body) }
    }
  }
}
