/// Rows of activations on their way from a model into a `SequenceBlock`.
package enum FloatRows {
  /// A copy of `values`, in which the rows past `lengths[i]` of each sequence of `context` rows are zero.
  package static func copy(
    _ values: borrowing Span<Float>, width: Int, context: Int, lengths: [UInt32]
  ) -> [Float] {
    precondition(
      values.count == lengths.count * context * width, "\(values.count) values for \(lengths.count) sequences")
    return unsafe [Float](unsafeUninitializedCapacity: values.count) { buffer, count in
      unsafe values.withUnsafeBufferPointer { source in
        guard let from = source.baseAddress else { return }
        unsafe buffer.baseAddress?.initialize(from: from, count: source.count)
      }
      for (i, length) in lengths.enumerated() where length < context {
        let range = ((i * context + Int(length)) * width)..<((i + 1) * context * width)
        for j in range { unsafe buffer[j] = 0 }
      }
      count = values.count
    }
  }
}
