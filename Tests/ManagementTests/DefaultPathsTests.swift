import Foundation
import TestSupport
import Testing

@testable import Management

struct DefaultPathsTests {
  @Test func rootHasSystemDirectories() throws {
    let paths = DefaultPaths(userID: 0, environment: ["XDG_RUNTIME_DIR": "/run/user/0", "XDG_STATE_HOME": "/root/state", "HOME": "/root"])
    #expect(paths.controlSocket == "/run/spaceport/control.sock")
    #expect(paths.nbdSocket == "/run/spaceport/nbd.sock")
    #expect(try paths.stateDirectory() == "/var/lib/spaceport")
  }

  @Test func othersHaveTheirXDGDirectories() throws {
    let paths = DefaultPaths(userID: 1000, environment: ["XDG_RUNTIME_DIR": "/run/user/1000", "XDG_STATE_HOME": "/s", "HOME": "/home/u"])
    #expect(paths.controlSocket == "/run/user/1000/spaceport/control.sock")
    #expect(paths.nbdSocket == "/run/user/1000/spaceport/nbd.sock")
    #expect(try paths.stateDirectory() == "/s/spaceport")
  }

  @Test func othersWithoutXDGHaveFallbacks() throws {
    let paths = DefaultPaths(userID: 1000, environment: ["XDG_RUNTIME_DIR": "relative", "XDG_STATE_HOME": "", "HOME": "/home/u"])
    #expect(paths.controlSocket == "/tmp/spaceport-1000/control.sock")
    #expect(try paths.stateDirectory() == "/home/u/.local/state/spaceport")
    let error = #expect(throws: APIError.self) { try DefaultPaths(userID: 1000, environment: [:]).stateDirectory() }
    #expect(error?.remedy.contains("--state-dir") == true)
  }

  @Test func optionGoesBeforeVariableBeforeDefault() {
    let paths = DefaultPaths(userID: 0, environment: ["SPACEPORT_CONTROL": "/v.sock"])
    #expect(paths.controlSocket(option: "/o.sock") == "/o.sock")
    #expect(paths.controlSocket(option: nil) == "/v.sock")
    #expect(DefaultPaths(userID: 0, environment: ["SPACEPORT_CONTROL": ""]).controlSocket(option: nil) == "/run/spaceport/control.sock")
  }

  @Test func makesItsRuntimeDirectoryPrivate() throws {
    let place = try TemporaryDirectory()
    let paths = DefaultPaths(userID: geteuid(), environment: ["XDG_RUNTIME_DIR": place.path])
    guard geteuid() != 0 else {
      // Root's directory is fixed, so what the others' would go through is called directly.
      try Directories.create(place.file("a/b/spaceport"), mode: 0o700)
      try Directories.requirePrivate(place.file("a/b/spaceport"), userID: 0)
      #expect(try place.mode(of: "a/b/spaceport") == 0o700)
      return
    }
    try paths.prepareRuntimeDirectory()
    try paths.prepareRuntimeDirectory()
    #expect(try place.mode(of: "spaceport") == 0o700)
  }

  @Test func refusesADirectoryThatOthersCouldHaveMade() throws {
    let place = try TemporaryDirectory()
    try Directories.create(place.file("d"), mode: 0o700)
    try Directories.requirePrivate(place.file("d"), userID: geteuid())

    let foreign = #expect(throws: APIError.self) { try Directories.requirePrivate(place.file("d"), userID: geteuid() + 1) }
    #expect(foreign?.message.contains("belongs to user") == true)

    chmod(place.file("d"), 0o777)
    let writable = #expect(throws: APIError.self) { try Directories.requirePrivate(place.file("d"), userID: geteuid()) }
    #expect(writable?.message.contains("written by other users") == true)

    symlink(place.file("d"), place.file("link"))
    let link = #expect(throws: APIError.self) { try Directories.requirePrivate(place.file("link"), userID: geteuid()) }
    #expect(link?.message.contains("not a directory") == true)
    #expect(link?.code == .permissionDenied)
  }

  @Test func saysWhyADirectoryCannotBeMade() throws {
    let place = try TemporaryDirectory()
    _ = FileManager.default.createFile(atPath: place.file("plain"), contents: nil)
    let error = #expect(throws: APIError.self) { try Directories.create(place.file("plain/below"), mode: 0o700) }
    #expect(error?.message.contains(place.file("plain")) == true)
  }
}
