import Resiliency
import Testing

@Suite struct StripeLayoutTests {
  private static let layouts = [(1, 4096, 65536), (2, 4096, 65536), (3, 16384, 65536), (5, 65536, 65536), (8, 8192, 131072)].map {
    StripeLayout(columns: $0.0, interleave: UInt64($0.1), slabByteCount: UInt64($0.2))
  }

  @Test(arguments: layouts) func everyByteHasAPlaceOfItsOwn(layout: StripeLayout) {
    // By blocks of 512: each lands in one place, within its slab, and no two in the same.
    var places = Set<[UInt64]>()
    for offset in stride(from: UInt64(0), to: layout.rowByteCount, by: 512) {
      let place = layout.locate(offset)
      #expect(place.column < layout.columns && place.offsetInSlab < layout.slabByteCount && place.contiguousByteCount >= 512)
      places.insert([UInt64(place.column), place.offsetInSlab])
    }
    #expect(places.count == Int(layout.rowByteCount / 512))
  }

  @Test(arguments: layouts) func contiguousBytesAreContiguous(layout: StripeLayout) {
    for offset in stride(from: UInt64(0), to: layout.rowByteCount, by: 1536) {
      let place = layout.locate(offset)
      let last = layout.locate(offset + place.contiguousByteCount - 1)
      #expect(last.column == place.column && last.offsetInSlab == place.offsetInSlab + place.contiguousByteCount - 1)
      #expect(place.offsetInSlab + place.contiguousByteCount <= layout.slabByteCount)
    }
  }

  /// A range of the row is one range of each column: counted against every block of it.
  @Test(arguments: layouts) func aRangeOfTheRowIsOneRangeOfEachColumn(layout: StripeLayout) {
    for start in stride(from: UInt64(0), to: layout.rowByteCount, by: 9728) {
      let end = min(layout.rowByteCount, start + 40_960)
      var counted = [UInt64](repeating: 0, count: layout.columns)
      var lowest = [UInt64](repeating: .max, count: layout.columns)
      for offset in stride(from: start, to: end, by: 512) {
        let place = layout.locate(offset)
        counted[place.column] += 512
        lowest[place.column] = min(lowest[place.column], place.offsetInSlab)
      }
      for column in 0..<layout.columns {
        let from = layout.byteCount(of: column, before: start)
        #expect(layout.byteCount(of: column, before: end) - from == counted[column])
        if counted[column] > 0 { #expect(lowest[column] == from) }
      }
    }
  }
}
