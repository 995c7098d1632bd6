import BlockDevice

/// How much of a disk each virtual disk gets when they want more than it can do: in proportion to their shares. One table for all disks of a
/// reactor, by the virtual disks' handles; who has no entry has the default share.
public final class VirtualDiskShares: @unchecked Sendable {  // reactor-confined
  /// What one unit of work costs, so that no request divides: the smaller the share, the dearer.
  private var prices: [UInt64] = []
  private static let defaultPrice = VirtualDiskShares.price(StorageBusLimits.defaultShare)

  public init() {}

  private static func price(_ share: UInt32) -> UInt64 { 1_000_000 / UInt64(share) }

  /// - Parameter share: within `StorageBusLimits.shares`; 0 stands for the default, and more than the largest for that.
  public func set(_ share: UInt32, of virtualDisk: VirtualDiskHandle) {
    let share = share == 0 ? StorageBusLimits.defaultShare : min(share, StorageBusLimits.shares.upperBound)
    let number = Int(virtualDisk.number)
    if number >= prices.count { prices += repeatElement(Self.defaultPrice, count: number + 1 - prices.count) }
    prices[number] = Self.price(share)
  }

  @inline(__always)
  func price(of number: Int) -> UInt64 { number < prices.count ? prices[number] : Self.defaultPrice }
}
