/// What may have been meant by a name that is not there: the one of the fewest changes, nil among none.
package func nearest(to name: String, among names: some Sequence<String>) -> String? {
  names.map { (name: $0, distance: editDistance($0, name)) }.min { $0.distance < $1.distance }?.name
}

/// Levenshtein's distance.
func editDistance(_ a: String, _ b: String) -> Int {
  let (a, b) = (Array(a), Array(b))
  var row = Array(0...b.count)
  for i in 0..<a.count {
    var diagonal = row[0]
    row[0] = i + 1
    for j in 0..<b.count {
      let cost = min(row[j] + 1, row[j + 1] + 1, diagonal + (a[i] == b[j] ? 0 : 1))
      diagonal = row[j + 1]
      row[j + 1] = cost
    }
  }
  return row[b.count]
}
