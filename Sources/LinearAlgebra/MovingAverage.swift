/// average += share · (values − average), of one shape.
package func move(_ average: inout Matrix, towards values: borrowing Matrix, share: Float) {
  precondition(
    average.rows == values.rows && average.columns == values.columns,
    "[\(values.rows), \(values.columns)] into the average [\(average.rows), \(average.columns)]")
  let (a, x) = (average.base, values.base)
  Threads.forEachRange(average.count, grain: 1 << 16) { range in
    var i = range.lowerBound
    while i + 16 <= range.upperBound {
      let old = a.lanes(at: i)
      a.store(old.addingProduct(x.lanes(at: i) - old, Lanes(repeating: share)), at: i)
      i += 16
    }
    while i < range.upperBound {
      a[i] = a[i].addingProduct(x[i] - a[i], share)
      i += 1
    }
  }
}
