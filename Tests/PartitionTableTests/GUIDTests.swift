import Testing

@testable import PartitionTable

@Suite("GUID and CRC32")
struct GUIDTests {
  @Test("CRC-32 gives the published check values")
  func checksumVectors() {
    #expect(CRC32.checksum([]) == 0)
    #expect(CRC32.checksum(Array("123456789".utf8)) == 0xCBF4_3926)
    #expect(CRC32.checksum(Array("The quick brown fox jumps over the lazy dog".utf8)) == 0x414F_A339)
    #expect(CRC32.checksum([UInt8](repeating: 0, count: 32)) == 0x190A_55AD)
    #expect(CRC32.checksum([UInt8](repeating: 0xFF, count: 32)) == 0xFF6C_AB0B)
    #expect(CRC32.checksum([9, 9] + Array("123456789".utf8)) != 0xCBF4_3926)
    #expect(CRC32.checksum(([9, 9] + Array("123456789".utf8))[2...]) == 0xCBF4_3926)
  }

  @Test("the EFI system type has the bytes on disk that UEFI gives")
  func mixedEndian() {
    let bytes: [UInt8] = [0x28, 0x73, 0x2A, 0xC1, 0x1F, 0xF8, 0xD2, 0x11, 0xBA, 0x4B, 0x00, 0xA0, 0xC9, 0x3E, 0xC9, 0x3B]
    #expect(GUID.efiSystem.description == "C12A7328-F81F-11D2-BA4B-00A0C93EC93B")
    #expect(GUID.efiSystem.diskBytes == bytes)
    #expect(GUID(diskBytes: bytes[...]) == .efiSystem)
  }

  @Test("text and disk form round-trip")
  func roundTrip() {
    var generator = SeededGenerator(seed: 1)
    for _ in 0..<2000 {
      let guid = GUID(high: generator.next(), low: generator.next())
      #expect(GUID(guid.description) == guid)
      #expect(GUID(guid.description.lowercased()) == guid)
      #expect(GUID("{\(guid)}") == guid)
      #expect(GUID(diskBytes: guid.diskBytes[...]) == guid)
    }
  }

  @Test(
    "what is no GUID is refused",
    arguments: [
      "", "C12A7328", "C12A7328-F81F-11D2-BA4B-00A0C93EC93", "C12A7328-F81F-11D2-BA4B-00A0C93EC93BB",
      "C12A7328-F81F-11D2-BA4B-00A0C93EC93G", "C12A7328F-81F-11D2-BA4B-00A0C93EC93B", "{C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
      "C12A7328-F81F-11D2-BA4B+00A0C93EC93B", "C12A7328-F81F-11D2-BA4B-00A0C93EC9３B",
    ])
  func refused(text: String) {
    #expect(GUID(text) == nil)
  }

  @Test("injected randomness becomes version 4")
  func versionFour() {
    #expect(GUID(randomHigh: 0, randomLow: 0).description == "00000000-0000-4000-8000-000000000000")
    #expect(GUID(randomHigh: .max, randomLow: .max).description == "FFFFFFFF-FFFF-4FFF-BFFF-FFFFFFFFFFFF")
    #expect(GUID(randomHigh: 0x0123_4567_89AB_CDEF, randomLow: 7).description == "01234567-89AB-4DEF-8000-000000000007")
  }

  @Test("order is the order of the text")
  func order() {
    var generator = SeededGenerator(seed: 2)
    let guids = (0..<500).map { _ in generator.guid() }
    #expect(guids.sorted().map(\.description) == guids.map(\.description).sorted())
  }

  @Test("types are found by GUID, alias, name and sgdisk code")
  func types() {
    for type in GPTPartitionType.all {
      #expect(GPTPartitionType.named(type.guid) == type)
      for text in type.aliases + [type.name, type.guid.description, type.sgdiskCode ?? type.name] {
        #expect(GPTPartitionType.parse(text) == type.guid, "\(text)")
      }
    }
    #expect(GPTPartitionType.parse("EF00") == .efiSystem)
    #expect(GPTPartitionType.parse("Swap") == .linuxSwap)
    #expect(GPTPartitionType.parse("u") == nil)
    #expect(GPTPartitionType.parse("") == nil)
    #expect(GPTPartitionType.parse("nonsense") == nil)
    #expect(GPTPartitionType.parse(GUID.zero.description) == nil)
    #expect(Set(GPTPartitionType.all.map(\.guid)).count == GPTPartitionType.all.count)
    let aliases = GPTPartitionType.all.flatMap(\.aliases)
    #expect(Set(aliases).count == aliases.count)
  }

  @Test("this project's own types never change, being on disks")
  func ownTypes() {
    #expect(GUID.spaceportMetadata.description == "C44FA019-004A-4FFC-8D83-0495B1DE978D")
    #expect(GUID.spaceportData.description == "08386AE0-52B8-4B6D-BE27-C67D44E740A1")
  }
}
