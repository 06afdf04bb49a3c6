/// An optional value whose key is always in the JSON, null where there is none. Files without the key can be read, too.
@propertyWrapper
package struct NullWhereMissing<Value: Codable & Sendable & Equatable>: Codable, Sendable, Equatable {
  package var wrappedValue: Value?

  package init(wrappedValue: Value?) { self.wrappedValue = wrappedValue }

  package init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    wrappedValue = container.decodeNil() ? nil : try container.decode(Value.self)
  }

  package func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    if let wrappedValue { try container.encode(wrappedValue) } else { try container.encodeNil() }
  }
}

extension KeyedDecodingContainer {
  /// What synthesized decoding calls.
  func decode<Value>(_ type: NullWhereMissing<Value>.Type, forKey key: Key) throws -> NullWhereMissing<Value> {
    try decodeIfPresent(type, forKey: key) ?? NullWhereMissing(wrappedValue: nil)
  }
}
