// Package certs keeps the certificates of the listeners.
//
// Load reads all that a configuration names, or says all that is wrong and changes nothing; Use makes the result the one that is watched
// and shown. Each listener's tls.Config asks GetCertificate at each handshake, so a new certificate reaches the next client without a
// change of listeners, and a client that is in is not touched.
//
// Run looks after the files every few seconds. New files that are a certificate and its key take the place of the old ones. Files that
// are not, or that have expired while the old ones have not, leave the old ones where they are, and are told: once in a notice, and in
// States until they are mended. Certificate and key are two files, so for a moment while they are replaced they do not fit: only what is
// wrong at two looks in a row is told. An explicit reload tells at once.
//
// GetCertificate and States are for any goroutine; Load, Use and Run take turns among themselves.
package certs
