/// How two arrays differ, nil if they do not.
///
/// For arrays of more than a few thousand elements: `#expect(a == b)` looks for the shortest edit between the two
/// when they differ, which takes an hour for a million.
public func difference<T: Equatable>(_ found: some Collection<T>, _ expected: some Collection<T>) -> String? {
  if found.count != expected.count { return "\(found.count) elements, expected \(expected.count)" }
  var count = 0
  var first = ""
  for (i, (a, b)) in zip(found, expected).enumerated() where a != b {
    if count == 0 { first = "\(a) at \(i), expected \(b)" }
    count += 1
  }
  return count == 0 ? nil : "\(count) of \(expected.count) differ, the first is \(first)"
}
