/// The bounds this module works within. Everything read from a disk is checked against these before memory is taken for it.
public enum PartitionLimits {
  /// Alignment of partitions unless told otherwise, in bytes. 1 MiB is what every current tool uses: a multiple of all
  /// sector sizes, erase blocks and usual RAID stripes.
  public static let defaultAlignmentByteCount: UInt64 = 1 << 20

  /// Entries in a table made by us. UEFI 2.10, 5.3.1 reserves at least 16 KiB for the array: 128 entries of 128 bytes.
  public static let defaultEntryCount = 128

  /// Bytes of a partition entry in a table made by us, and the least the standard allows (128 times a power of two).
  public static let entryByteCount = 128

  /// Bytes that UEFI reserves for the entry array, however few entries there are.
  public static let reservedEntryArrayByteCount = 16 * 1024

  /// Largest entry array that is read or written, in bytes. The standard's own maximum (2^32 - 1 entries of 2^31 bytes) cannot be
  /// held in memory; Linux refuses arrays above 4 MiB, so no table of use to anyone is larger.
  public static let maximumEntryArrayByteCount = 4 << 20

  /// UTF-16 code units in a partition name (72 bytes of the entry).
  public static let nameUnitCount = 36

  /// Bytes of the GPT header that the standard defines; the header may say more, up to one sector.
  public static let headerByteCount = 92

  /// Most logical partitions followed along EBR chains. Linux stops at 256 partitions a disk; a longer chain is damage or malice.
  public static let maximumLogicalPartitions = 256

  /// Findings that a refusal names, of what may be tens of thousands: as many as a person reads, and an NBD client can be told.
  public static let findingsInSentence = 8

  /// Least size of the data partition on a pooled disk, in bytes: the first and last MiB belong to no slab, and the smallest slab
  /// is 1 MiB.
  public static let pooledDataMinimumByteCount: UInt64 = 3 << 20
}
