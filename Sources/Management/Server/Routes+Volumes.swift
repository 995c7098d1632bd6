import Hummingbird

// Volumes: partitions, and virtual disks without a table, with what is on them.

extension Routes {
  func addVolumeRoutes(to group: RouterGroup<Context>) {
    let backend = backend
    group.get("volumes") { request, _ in
      try await answer(request, slow: true) { () throws(APIError) in try await backend.volumes(ofPool: nil) }
    }
    group.get("volumes/:pool") { request, context in
      let pool = try Self.parameter("pool", context)
      return try await answer(request, slow: true) { () throws(APIError) in try await backend.volumes(ofPool: pool) }
    }
    group.get("volumes/:pool/:vdisk") { request, context in
      let path = try Self.virtualDiskPath(context)
      return try await answer(request, slow: true) { () throws(APIError) in try await backend.volumes(of: path) }
    }
    group.get("volumes/:pool/:vdisk/exports") { request, context in
      let path = try Self.virtualDiskPath(context)
      return try await answer(request) { () throws(APIError) in try await backend.volumesWithoutContent(of: path) }
    }
  }
}
