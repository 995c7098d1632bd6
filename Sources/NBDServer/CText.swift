// Text that C functions have written into arrays: up to the closing zero.

extension String {
  /// What is not UTF-8 in it is shown as U+FFFD: for people, and never for a comparison.
  init(cText characters: [CChar]) {
    self = String(decoding: characters.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// nil when it is not UTF-8.
  init?(validCText characters: [CChar]) {
    self.init(validating: characters.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
