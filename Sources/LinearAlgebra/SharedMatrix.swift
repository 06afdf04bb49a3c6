/// Holds a matrix, which cannot be copied, for arrays and closures, whose contents can.
package final class SharedMatrix: Sendable {
  package let matrix: Matrix
  package init(_ matrix: consuming Matrix) { self.matrix = matrix }
}
