import Hummingbird

// Changing the disks of a pool, its jobs and its events.

extension Routes {
  func addDiskRoutes(to group: RouterGroup<Context>) {
    let backend = backend
    group.post("scan-disks") { request, _ in
      let body = try await read(ScanDisks.self, from: request)
      return try await answer(request, slow: true) { () throws(APIError) in try await backend.scanDisks(body) }
    }
    group.post("pools/:pool/disks") { request, context in
      let name = try Self.parameter("pool", context)
      let body = try await read(AddDisks.self, from: request)
      return try await answer(request, slow: true) { () throws(APIError) in try await backend.addDisks(toPool: name, body) }
    }
    group.post("disk-usage") { request, _ in
      let body = try await read(SetDiskUsage.self, from: request)
      return try await answer(request, slow: true) { () throws(APIError) in try await backend.setUsage(body) }
    }
    group.post("retire-disk") { request, _ in
      let body = try await read(DiskReference.self, from: request)
      return try await answer(request, slow: true) { () throws(APIError) in try await backend.retireDisk(body) }
    }
    group.post("replace-disk") { request, _ in
      let body = try await read(ReplaceDisk.self, from: request)
      return try await answer(request, slow: true) { () throws(APIError) in try await backend.replaceDisk(body) }
    }
  }

  func addJobRoutes(to group: RouterGroup<Context>) {
    let backend = backend
    group.get("jobs") { request, _ in
      try await answer(request) { () throws(APIError) in try await backend.jobs(ofPool: nil) }
    }
    group.get("jobs/:pool") { request, context in
      let pool = try Self.parameter("pool", context)
      return try await answer(request) { () throws(APIError) in try await backend.jobs(ofPool: pool) }
    }
    group.post("jobs/:pool") { request, context in
      let pool = try Self.parameter("pool", context)
      let body = try await read(StartJob.self, from: request)
      guard body.kind == .optimize || body.kind == .scrub else {
        throw APIError(.badRequest, "A job of the kind \(body.kind) cannot be asked for", remedy: "Ask for optimize or scrub")
      }
      return try await answer(request, slow: true) { () throws(APIError) in try await backend.startJob(inPool: pool, body) }
    }
    group.delete("jobs/:pool/:number") { request, context in
      let pool = try Self.parameter("pool", context)
      let text = try Self.parameter("number", context)
      guard let number = UInt64(text) else {
        throw APIError(.badRequest, "\"\(text)\" is not the number of a job", remedy: "Look at spaceport job list")
      }
      return try await answer(request, slow: true) { () throws(APIError) in
        try await backend.cancelJob(inPool: pool, number: number)
        return Done(action: "cancelled", kind: "job", name: "\(pool) \(number)")
      }
    }
    group.get("cache") { request, _ in
      try await answer(request) { () throws(APIError) in try await backend.cache(ofPool: nil) }
    }
    group.get("cache/:pool") { request, context in
      let pool = try Self.parameter("pool", context)
      return try await answer(request) { () throws(APIError) in try await backend.cache(ofPool: pool) }
    }
    group.get("events") { request, _ in
      try await answer(request) { () throws(APIError) in try await backend.events(ofPool: nil) }
    }
    group.get("events/:pool") { request, context in
      let pool = try Self.parameter("pool", context)
      return try await answer(request) { () throws(APIError) in try await backend.events(ofPool: pool) }
    }
  }
}
