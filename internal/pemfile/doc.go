// Package pemfile reads the PEM files of an operator as a careful reader would (RFC 7468): what looks like a block must be one. encoding/pem
// skips what it does not understand, so that a chain that was joined without a newline, or cut, would be served as the certificate
// alone, and a file that is no PEM is only said to have none. The errors here say what the file is, and the command that mends it. They never
// hold what is in it.
package pemfile
