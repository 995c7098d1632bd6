import Management

/// Numbers in few characters, for tables.
enum Figures {
  static func size(_ byteCount: UInt64) -> String { "\(ByteSize(byteCount: byteCount))" }

  /// A count: exact up to 7 digits, then with three of them and a power of ten.
  static func count(_ value: UInt64) -> String {
    guard value >= 10_000_000 else { return "\(value)" }
    var scaled = value
    var rest: UInt64 = 0
    var unit = ""
    for next in ["k", "M", "G", "T", "P", "E"] where scaled >= 1000 {
      rest = scaled % 1000
      scaled /= 1000
      unit = next
    }
    return "\(decimal(scaled, thousandths: rest))\(unit)"
  }

  /// A latency, to three digits.
  static func latency(nanoseconds: UInt64) -> String {
    switch nanoseconds {
    case ..<1000: "\(nanoseconds) ns"
    case ..<1_000_000: "\(decimal(nanoseconds / 1000, thousandths: nanoseconds % 1000)) µs"
    case ..<1_000_000_000: "\(decimal(nanoseconds / 1_000_000, thousandths: nanoseconds / 1000 % 1000)) ms"
    default: "\(decimal(nanoseconds / 1_000_000_000, thousandths: nanoseconds / 1_000_000 % 1000)) s"
    }
  }

  /// A span of time for a person: its two largest units.
  static func duration(seconds: Double) -> String {
    // Outside of this range it was no uptime, and the conversion below would trap.
    guard seconds >= 0, seconds < 1e15 else { return "?" }
    let whole = UInt64(seconds)
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60)
    if days > 0 { return "\(days) d \(hours) h" }
    if hours > 0 { return "\(hours) h \(minutes) min" }
    if minutes > 0 { return "\(minutes) min \(whole % 60) s" }
    return "\(whole) s"
  }

  /// A moment, as `2026-11-22 19:13:39`; "-" for 0, a time that was not known.
  static func date(secondsSince1970 seconds: UInt64) -> String {
    guard seconds > 0, seconds < 1 << 40 else { return "-" }
    let days = seconds / 86_400
    // Counted in years that begin in March, so that the day of a leap year comes last; 719,468 days from March of the year 0 to 1970.
    let shifted = days + 719_468
    let era = shifted / 146_097
    let dayOfEra = shifted % 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let monthFromMarch = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
    let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
    let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    func two(_ value: UInt64) -> String { value < 10 ? "0\(value)" : "\(value)" }
    let clock = [seconds / 3600 % 24, seconds / 60 % 60, seconds % 60].map(two).joined(separator: ":")
    return "\(year)-\(two(month))-\(two(day)) \(clock)"
  }

  /// Three digits of a number.
  private static func decimal(_ whole: UInt64, thousandths: UInt64) -> String {
    switch whole {
    case 100...: "\(whole)"
    case 10...: "\(whole).\(thousandths / 100)"
    default: "\(whole).\(thousandths < 100 ? "0" : "")\(thousandths / 10)"
    }
  }
}
