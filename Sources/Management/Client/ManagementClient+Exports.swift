extension ManagementClient {
  public func exports(ofPool pool: String?) async throws(APIError) -> [ExportAccess] {
    if let pool { try await get("exports", pool) } else { try await get("exports") }
  }

  public func export(at path: ExportPath) async throws(APIError) -> ExportAccess {
    if let partition = path.partition {
      try await get("exports", path.pool, path.virtualDisk, partition)
    } else {
      try await get("exports", path.pool, path.virtualDisk)
    }
  }

  public func setExport(_ request: SetExportAccess) async throws(APIError) -> ExportAccess { try await post(request, "set-export") }

  public func resetExport(_ request: ResetExportAccess) async throws(APIError) -> ExportAccess { try await post(request, "reset-export") }
}
