/// A partition type that has a name. Names follow sfdisk, codes follow sgdisk, so that users find here what they know.
public struct GPTPartitionType: Hashable, Sendable {
  /// What an entry of this type carries.
  public let guid: GUID
  /// Name shown to people.
  public let name: String
  /// Short names accepted on the command line, the preferred first; single capital letters are sfdisk's.
  public let aliases: [String]
  /// sgdisk's four hexadecimal digits, where sgdisk knows the type.
  public let sgdiskCode: String?

  /// The entry of the table below for a GUID; nil for types that have no name here.
  public static func named(_ guid: GUID) -> GPTPartitionType? {
    all.first { $0.guid == guid }
  }

  /// What to call a type in a table of few columns: its first alias, else the GUID.
  public static func shortName(_ guid: GUID) -> String { named(guid)?.aliases.first ?? guid.description }

  /// Reads a type given as GUID, alias, name or sgdisk code, in either case (single letters: capitals only, as in sfdisk); nil when
  /// nothing fits. Any GUID but zero is accepted, named here or not.
  public static func parse(_ text: String) -> GUID? {
    if let guid = GUID(text) { return guid == .zero ? nil : guid }
    let lower = text.lowercased()
    return all.first { type in
      type.name.lowercased() == lower || type.sgdiskCode?.lowercased() == lower
        || type.aliases.contains { $0.utf8.count == 1 ? $0 == text : $0 == lower }
    }?.guid
  }
}

extension GUID {
  /// This project's own type for the metadata partition of a pooled disk: a version 4 GUID drawn once, for good.
  /// It is on disks: never change it.
  public static let spaceportMetadata = GUID(high: 0xC44F_A019_004A_4FFC, low: 0x8D83_0495_B1DE_978D)
  /// This project's own type for the data partition of a pooled disk: a version 4 GUID drawn once, for good.
  /// It is on disks: never change it.
  public static let spaceportData = GUID(high: 0x0838_6AE0_52B8_4B6D, low: 0xBE27_C67D_44E7_40A1)
  /// Linux filesystem: 0FC63DAF-8483-4772-8E79-3D69D8477DE4.
  public static let linux = GUID(high: 0x0FC6_3DAF_8483_4772, low: 0x8E79_3D69_D847_7DE4)
  /// Linux swap: 0657FD6D-A4AB-43C4-84E5-0933C84B4F4F.
  public static let linuxSwap = GUID(high: 0x0657_FD6D_A4AB_43C4, low: 0x84E5_0933_C84B_4F4F)
  /// Linux home: 933AC7E1-2EB4-4F13-B844-0E14E2AEF915.
  public static let linuxHome = GUID(high: 0x933A_C7E1_2EB4_4F13, low: 0xB844_0E14_E2AE_F915)
  /// Linux server data: 3B8F8425-20E0-4F3B-907F-1A25A76F98E8.
  public static let linuxServerData = GUID(high: 0x3B8F_8425_20E0_4F3B, low: 0x907F_1A25_A76F_98E8)
  /// Linux variable data: 4D21B016-B534-45C2-A9FB-5C16E091FD2D.
  public static let linuxVar = GUID(high: 0x4D21_B016_B534_45C2, low: 0xA9FB_5C16_E091_FD2D)
  /// Linux root (x86-64): 4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709.
  public static let linuxRootX8664 = GUID(high: 0x4F68_BCE3_E8CD_4DB1, low: 0x96E7_FBCA_F984_B709)
  /// Linux root (ARM-64): B921B045-1DF0-41C3-AF44-4C6F280D3FAE.
  public static let linuxRootARM64 = GUID(high: 0xB921_B045_1DF0_41C3, low: 0xAF44_4C6F_280D_3FAE)
  /// Linux /usr (x86-64): 8484680C-9521-48C6-9C11-B0720656F69E.
  public static let linuxUsrX8664 = GUID(high: 0x8484_680C_9521_48C6, low: 0x9C11_B072_0656_F69E)
  /// Linux RAID: A19D880F-05FC-4D3B-A006-743F0F84911E.
  public static let linuxRAID = GUID(high: 0xA19D_880F_05FC_4D3B, low: 0xA006_743F_0F84_911E)
  /// Linux LVM: E6D6D379-F507-44C2-A23C-238F2A3DF928.
  public static let linuxLVM = GUID(high: 0xE6D6_D379_F507_44C2, low: 0xA23C_238F_2A3D_F928)
  /// Linux LUKS: CA7D7CCB-63ED-4C53-861C-1742536059CC.
  public static let linuxLUKS = GUID(high: 0xCA7D_7CCB_63ED_4C53, low: 0x861C_1742_5360_59CC)
  /// Linux reserved: 8DA63339-0007-60C0-C436-083AC8230908.
  public static let linuxReserved = GUID(high: 0x8DA6_3339_0007_60C0, low: 0xC436_083A_C823_0908)
  /// Linux extended boot: BC13C2FF-59E6-4262-A352-B275FD6F7172.
  public static let linuxExtendedBoot = GUID(high: 0xBC13_C2FF_59E6_4262, low: 0xA352_B275_FD6F_7172)
  /// EFI System: C12A7328-F81F-11D2-BA4B-00A0C93EC93B.
  public static let efiSystem = GUID(high: 0xC12A_7328_F81F_11D2, low: 0xBA4B_00A0_C93E_C93B)
  /// BIOS boot: 21686148-6449-6E6F-744E-656564454649.
  public static let biosBoot = GUID(high: 0x2168_6148_6449_6E6F, low: 0x744E_6565_6445_4649)
  /// PowerPC PReP boot: 9E1A2D38-C612-4316-AA26-8B49521E5A8B.
  public static let prepBoot = GUID(high: 0x9E1A_2D38_C612_4316, low: 0xAA26_8B49_521E_5A8B)
  /// Microsoft basic data: EBD0A0A2-B9E5-4433-87C0-68B6B72699C7.
  public static let microsoftBasicData = GUID(high: 0xEBD0_A0A2_B9E5_4433, low: 0x87C0_68B6_B726_99C7)
  /// Microsoft reserved: E3C9E316-0B5C-4DB8-817D-F92DF00215AE.
  public static let microsoftReserved = GUID(high: 0xE3C9_E316_0B5C_4DB8, low: 0x817D_F92D_F002_15AE)
  /// Windows recovery environment: DE94BBA4-06D1-4D40-A16A-BFD50179D6AC.
  public static let windowsRecovery = GUID(high: 0xDE94_BBA4_06D1_4D40, low: 0xA16A_BFD5_0179_D6AC)
  /// Microsoft LDM metadata: 5808C8AA-7E8F-42E0-85D2-E1E90434CFB3.
  public static let microsoftLDMMetadata = GUID(high: 0x5808_C8AA_7E8F_42E0, low: 0x85D2_E1E9_0434_CFB3)
  /// Microsoft LDM data: AF9B60A0-1431-4F62-BC68-3311714A69AD.
  public static let microsoftLDMData = GUID(high: 0xAF9B_60A0_1431_4F62, low: 0xBC68_3311_714A_69AD)
  /// Microsoft Storage Spaces: E75CAF8F-F680-4CEE-AFA3-B001E56EFC2D.
  public static let microsoftStorageSpaces = GUID(high: 0xE75C_AF8F_F680_4CEE, low: 0xAFA3_B001_E56E_FC2D)
  /// FreeBSD UFS: 516E7CB6-6ECF-11D6-8FF8-00022D09712B.
  public static let freeBSDUFS = GUID(high: 0x516E_7CB6_6ECF_11D6, low: 0x8FF8_0002_2D09_712B)
  /// FreeBSD ZFS: 516E7CBA-6ECF-11D6-8FF8-00022D09712B.
  public static let freeBSDZFS = GUID(high: 0x516E_7CBA_6ECF_11D6, low: 0x8FF8_0002_2D09_712B)
  /// Solaris /usr & Apple ZFS: 6A898CC3-1DD2-11B2-99A6-080020736631.
  public static let solarisUsr = GUID(high: 0x6A89_8CC3_1DD2_11B2, low: 0x99A6_0800_2073_6631)
  /// Apple HFS/HFS+: 48465300-0000-11AA-AA11-00306543ECAC.
  public static let appleHFS = GUID(high: 0x4846_5300_0000_11AA, low: 0xAA11_0030_6543_ECAC)
  /// Apple APFS: 7C3457EF-0000-11AA-AA11-00306543ECAC.
  public static let appleAPFS = GUID(high: 0x7C34_57EF_0000_11AA, low: 0xAA11_0030_6543_ECAC)
  /// Ceph OSD: 4FBD7E29-9D25-41B8-AFD0-062C0CEFF05D.
  public static let cephOSD = GUID(high: 0x4FBD_7E29_9D25_41B8, low: 0xAFD0_062C_0CEF_F05D)
  /// VMware VMFS: AA31E02A-400F-11DB-9590-000C2911D1B8.
  public static let vmwareVMFS = GUID(high: 0xAA31_E02A_400F_11DB, low: 0x9590_000C_2911_D1B8)
}

extension GPTPartitionType {
  /// Every type that has a name here.
  public static let all: [GPTPartitionType] = [
    .init(guid: .spaceportMetadata, name: "Spaceport pool metadata", aliases: ["spaceport-metadata"], sgdiskCode: nil),
    .init(guid: .spaceportData, name: "Spaceport pool data", aliases: ["spaceport-data"], sgdiskCode: nil),
    .init(guid: .linux, name: "Linux filesystem", aliases: ["linux", "L"], sgdiskCode: "8300"),
    .init(guid: .linuxSwap, name: "Linux swap", aliases: ["swap", "S"], sgdiskCode: "8200"),
    .init(guid: .linuxHome, name: "Linux home", aliases: ["home", "H"], sgdiskCode: "8302"),
    .init(guid: .linuxServerData, name: "Linux server data", aliases: ["srv"], sgdiskCode: "8306"),
    .init(guid: .linuxVar, name: "Linux variable data", aliases: ["var"], sgdiskCode: "8310"),
    .init(guid: .linuxRootX8664, name: "Linux root (x86-64)", aliases: ["root-x86-64"], sgdiskCode: "8304"),
    .init(guid: .linuxRootARM64, name: "Linux root (ARM-64)", aliases: ["root-arm64"], sgdiskCode: "8305"),
    .init(guid: .linuxUsrX8664, name: "Linux /usr (x86-64)", aliases: ["usr-x86-64"], sgdiskCode: "8314"),
    .init(guid: .linuxRAID, name: "Linux RAID", aliases: ["raid", "R"], sgdiskCode: "FD00"),
    .init(guid: .linuxLVM, name: "Linux LVM", aliases: ["lvm", "V"], sgdiskCode: "8E00"),
    .init(guid: .linuxLUKS, name: "Linux LUKS", aliases: ["luks"], sgdiskCode: "8309"),
    .init(guid: .linuxReserved, name: "Linux reserved", aliases: ["linux-reserved"], sgdiskCode: "8301"),
    .init(guid: .linuxExtendedBoot, name: "Linux extended boot", aliases: ["xbootldr"], sgdiskCode: "EA00"),
    .init(guid: .efiSystem, name: "EFI System", aliases: ["efi", "uefi", "esp", "U"], sgdiskCode: "EF00"),
    .init(guid: .biosBoot, name: "BIOS boot", aliases: ["bios-boot", "bios"], sgdiskCode: "EF02"),
    .init(guid: .prepBoot, name: "PowerPC PReP boot", aliases: ["prep"], sgdiskCode: "4100"),
    .init(
      guid: .microsoftBasicData, name: "Microsoft basic data", aliases: ["windows", "msdata", "windows-data", "ntfs"], sgdiskCode: "0700"),
    .init(guid: .microsoftReserved, name: "Microsoft reserved", aliases: ["windows-reserved", "msr"], sgdiskCode: "0C01"),
    .init(guid: .windowsRecovery, name: "Windows recovery environment", aliases: ["windows-recovery"], sgdiskCode: "2700"),
    .init(guid: .microsoftLDMMetadata, name: "Microsoft LDM metadata", aliases: ["ldm-metadata"], sgdiskCode: "4201"),
    .init(guid: .microsoftLDMData, name: "Microsoft LDM data", aliases: ["ldm-data"], sgdiskCode: "4200"),
    .init(guid: .microsoftStorageSpaces, name: "Microsoft Storage Spaces", aliases: ["storage-spaces"], sgdiskCode: "4202"),
    .init(guid: .freeBSDUFS, name: "FreeBSD UFS", aliases: ["freebsd-ufs"], sgdiskCode: "A503"),
    .init(guid: .freeBSDZFS, name: "FreeBSD ZFS", aliases: ["freebsd-zfs"], sgdiskCode: "A504"),
    .init(guid: .solarisUsr, name: "Solaris /usr & Apple ZFS", aliases: ["zfs"], sgdiskCode: "BF01"),
    .init(guid: .appleHFS, name: "Apple HFS/HFS+", aliases: ["hfs"], sgdiskCode: "AF00"),
    .init(guid: .appleAPFS, name: "Apple APFS", aliases: ["apfs"], sgdiskCode: "AF0A"),
    .init(guid: .cephOSD, name: "Ceph OSD", aliases: ["ceph-osd"], sgdiskCode: "F800"),
    .init(guid: .vmwareVMFS, name: "VMware VMFS", aliases: ["vmfs"], sgdiskCode: "FB00"),
  ]
}
