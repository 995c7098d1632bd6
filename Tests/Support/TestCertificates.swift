import Foundation

/// Keys and certificates in a directory, made by certtool and psktool as their manuals say.
public final class TestCertificates: Sendable {
  public let directory: TemporaryDirectory
  /// What a client of the same authority, of none, and of another has.
  public var client: String { directory.file("client") }
  public var stranger: String { directory.file("stranger") }
  /// Shows the server's certificate as its own.
  public var thief: String { directory.file("thief") }
  public var server: String { directory.file("server") }
  public var pskFile: String { directory.file("psk/keys.psk") }
  public static let pskUser = "alice"

  private init() async throws {
    directory = try TemporaryDirectory()
    for name in ["client", "stranger", "thief", "server", "psk", "other"] {
      try FileManager.default.createDirectory(atPath: directory.file(name), withIntermediateDirectories: true)
    }
    try await authority("ca")
    try await authority("other-ca")
    try await makeServerCertificate()
    try await certificate(
      "client", cn: "host.example", extra: "organization = \"Example, Inc.\"\n\(TestCertificates.forClients)", authority: "ca", into: client
    )
    try await certificate("client", cn: "host.example", extra: TestCertificates.forClients, authority: "other-ca", into: stranger)
    for (from, to) in [("ca", server), ("ca", client), ("ca", stranger), ("ca", thief)] {
      try copy("\(from)-cert.pem", "\(to)/ca-cert.pem")
    }
    for kind in ["cert", "key"] { try copy("server/server-\(kind).pem", "\(thief)/client-\(kind).pem") }
    try await Program.succeed(["psktool", "--username", TestCertificates.pskUser, "--pskfile", pskFile])
  }

  /// certtool's lines of a client's certificate.
  public static let forClients = "tls_www_client\nexpiration_days = 30\n"

  private static let made = Task { try await TestCertificates() }
  public static func make() async throws -> TestCertificates { try await made.value }

  /// A set of its own, for a test that changes the files.
  public static func makeOwn() async throws -> TestCertificates { try await TestCertificates() }

  /// Another one than there was, with another key. `template`: further lines of certtool's.
  public func makeServerCertificate(_ template: String = "tls_www_server\nexpiration_days = 30\n") async throws {
    try await certificate(
      "server", cn: "server.example", extra: "ip_address = \"127.0.0.1\"\ndns_name = \"localhost\"\n\(template)", authority: "ca",
      into: server)
  }

  /// Another client of the same authority, by its common name; the directory of what it has.
  public func makeClient(named name: String) async throws -> String {
    let place = directory.file(name)
    try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
    try copy("ca-cert.pem", "\(place)/ca-cert.pem")
    try await certificate("client", cn: name, extra: TestCertificates.forClients, authority: "ca", into: place)
    return place
  }

  public func revokeClient() async throws {
    let template = directory.file("crl.cfg")
    try Data("crl_next_update = 30\ncrl_number = 1\n".utf8).write(to: URL(fileURLWithPath: template))
    try await Program.succeed([
      "certtool", "--generate-crl", "--load-ca-privkey", directory.file("ca-key.pem"), "--load-ca-certificate",
      directory.file("ca-cert.pem"),
      "--load-certificate", "\(client)/client-cert.pem", "--template", template, "--outfile", "\(server)/ca-crl.pem",
    ])
  }

  private func copy(_ from: String, _ to: String) throws { try FileManager.default.copyItem(atPath: directory.file(from), toPath: to) }

  private func key(_ path: String) async throws {
    try await Program.succeed(["certtool", "--generate-privkey", "--key-type", "ecdsa", "--outfile", path])
  }

  private func authority(_ name: String) async throws {
    try await key(directory.file("\(name)-key.pem"))
    let template = directory.file("\(name).cfg")
    try Data("cn = \"\(name)\"\nca\ncert_signing_key\ncrl_signing_key\nexpiration_days = 30\n".utf8).write(
      to: URL(fileURLWithPath: template))
    try await Program.succeed([
      "certtool", "--generate-self-signed", "--load-privkey", directory.file("\(name)-key.pem"), "--template", template, "--outfile",
      directory.file("\(name)-cert.pem"),
    ])
  }

  private func certificate(_ name: String, cn: String, extra: String, authority: String, into place: String) async throws {
    try await key("\(place)/\(name)-key.pem")
    let template = "\(place)/\(name).cfg"
    try Data("cn = \"\(cn)\"\n\(extra)signing_key\nencryption_key\n".utf8).write(to: URL(fileURLWithPath: template))
    try await Program.succeed([
      "certtool", "--generate-certificate", "--load-privkey", "\(place)/\(name)-key.pem", "--load-ca-certificate",
      directory.file("\(authority)-cert.pem"), "--load-ca-privkey", directory.file("\(authority)-key.pem"), "--template", template,
      "--outfile", "\(place)/\(name)-cert.pem",
    ])
  }
}
