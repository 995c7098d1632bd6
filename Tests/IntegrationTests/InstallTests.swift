import Foundation
import TestSupport
import Testing

/// What `make install` puts on a machine. That it works there, booted by systemd, is seen by Tests/Kernel.
@Suite struct InstallTests {
  private static let hasSystemd: Bool = {
    if Program.find("systemd-analyze") != nil { return true }
    print("SKIPPED: the tests of systemd units, because there is no systemd-analyze here")
    return false
  }()

  private struct Installed {
    let directory: TemporaryDirectory
    var units: String { directory.file("etc/systemd/system") }

    init() async throws {
      directory = try TemporaryDirectory()
      try await succeed("make", "install", "RELEASE=\(SpaceportServer.binary)", "DESTDIR=\(directory.path)")
    }

    func unit(_ name: String) throws -> [String] {
      try String(contentsOfFile: "\(units)/\(name)", encoding: .utf8).split(separator: "\n").map(String.init)
    }
  }

  @Test func everythingIsThere() async throws {
    let installed = try await Installed()
    #expect(try await succeed(installed.directory.file("usr/local/bin/spaceport"), "--version").contains("spaceport"))
    #expect(FileManager.default.fileExists(atPath: installed.directory.file("usr/local/share/man/man1/spaceport.1")))
  }

  /// They had written a file of the tree in passing: of eighty at once, eight installed an empty or half a unit.
  @Test func installationsAtOnceDoNotSpoilEachOther() async throws {
    let template = try String(contentsOfFile: "systemd/spaceport.service.in", encoding: .utf8)
    let unit = template.replacingOccurrences(of: "@PREFIX@", with: "/usr/local").split(separator: "\n").map(String.init)
    try await withThrowingTaskGroup(of: Bool.self) { group in
      for _ in 0..<16 { group.addTask { try await Installed().unit("spaceport.service") == unit } }
      for try await isWhole in group { #expect(isWhole) }
    }
  }

  /// systemd stops what requires a unit that ends, also one that it starts again at once: then file systems would be unmounted with nobody to
  /// write to, and what was not written be lost.
  @Test func volumesOutliveTheServer() async throws {
    let installed = try await Installed()
    let attach = try installed.unit("spaceport-attach@.service")
    #expect(attach.contains("Wants=spaceport.service") && attach.contains("After=spaceport.service"))
    for line in attach where ["Requires", "Requisite", "BindsTo", "PartOf"].contains(where: { line.hasPrefix("\($0)=") }) {
      Issue.record("\(line)")
    }
    #expect(try installed.unit("spaceport.service").contains { $0.hasPrefix("ExecStartPost=") && $0.contains("reload spaceport-attach@*") })
  }

  @Test(.enabled(if: hasSystemd, "needs systemd-analyze"))
  func systemdHasNothingToSayAboutTheUnits() async throws {
    let installed = try await Installed()
    // The programs are looked for where the units say.
    let units = [
      "spaceport.service": "spaceport.service", "spaceport-attach@.service": "spaceport-attach@tank-data-1.service",
      "spaceport.socket": "spaceport.socket",
    ]
    for (file, name) in units {
      let text = try installed.unit(file).map {
        $0.replacingOccurrences(of: "=/usr/local/", with: "=\(installed.directory.path)/usr/local/")
      }
      try Data((text.joined(separator: "\n") + "\n").utf8).write(to: URL(fileURLWithPath: "\(installed.units)/\(name)"))
    }
    for name in units.values {
      let result = try await Program.run(
        ["systemd-analyze", "verify", "\(installed.units)/\(name)"], environment: ["SYSTEMD_UNIT_PATH": "\(installed.units):"])
      #expect(result.succeeded && result.text.isEmpty, "\(name): \(result.text)")
    }
  }
}
