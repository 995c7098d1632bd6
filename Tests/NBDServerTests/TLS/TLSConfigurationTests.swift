import Foundation
import TestSupport
import Testing

@testable import NBDServer

@Suite struct TLSConfigurationTests {
  @Test func whatCannotBeUsedIsRefusedAtTheStartAndNamed() async throws {
    let certificates = try await TestCertificates.makeOwn()
    func refusal(_ configuration: TLSConfiguration) -> String {
      do {
        _ = try TLSContext(configuration)
        return "nothing"
      } catch { return "\(error)" }
    }
    #expect(refusal(TLSConfiguration(isRequired: true)).contains("--tls-certificates"))
    #expect(refusal(TLSConfiguration(isRequired: true, certificateDirectory: "/nowhere")).contains("/nowhere/ca-cert.pem"))
    #expect(refusal(TLSConfiguration(isRequired: true, pskFile: "/nowhere/keys")).contains("/nowhere/keys cannot be read"))
    #expect(refusal(TLSConfiguration(isRequired: true, certificateDirectory: certificates.server)) == "nothing")
    try FileManager.default.removeItem(atPath: certificates.server + "/server-key.pem")
    try FileManager.default.copyItem(atPath: certificates.client + "/client-key.pem", toPath: certificates.server + "/server-key.pem")
    #expect(refusal(TLSConfiguration(isRequired: true, certificateDirectory: certificates.server)).contains("server-key.pem"))
    try Data().write(to: URL(fileURLWithPath: certificates.server + "/ca-cert.pem"))
    #expect(refusal(TLSConfiguration(isRequired: true, certificateDirectory: certificates.server)).contains("ca-cert.pem"))
  }

  @Test(arguments: ["alice:00ff", "# who\nalice:00FF\n\nbob:ab\n", "a:b:00"]) func takesFilesOfKeys(text: String) throws {
    try PSKFile.check(Array(text.utf8), path: "keys")
  }

  @Test func aFileThatIsTooLongIsRefusedAsThat() throws {
    let place = try TemporaryDirectory()
    let line = "alice:" + String(repeating: "0", count: 64) + "\n"
    for (count, isTaken) in [
      (TLSLimits.pskFileByteCount / line.utf8.count, true), (TLSLimits.pskFileByteCount / line.utf8.count + 1, false),
    ] {
      try Data(String(repeating: line, count: count).utf8).write(to: URL(fileURLWithPath: place.file("keys")))
      if isTaken {
        try PSKFile.check(place.file("keys"))
      } else {
        let error = #expect(throws: TLSError.self) { try PSKFile.check(place.file("keys")) }
        #expect(error?.description.contains("longer than 1048576 bytes") == true)
      }
    }
  }

  @Test(arguments: [
    ("", "no pre-shared key"), ("# none\n", "no pre-shared key"), ("alice", "Line 1"), (":00", "Line 1"), ("alice:", "Line 1"),
    ("alice:00\nbob:0", "Line 2"), ("alice:0g", "Line 1"), ("alice:00 ", "Line 1"), ("alice:\u{ff11}\u{ff11}", "Line 1"),
  ])
  func refusesOtherFiles(text: String, words: String) {
    let error = #expect(throws: TLSError.self) { try PSKFile.check(Array(text.utf8), path: "keys") }
    #expect(error?.description.contains(words) == true)
  }
}
