package config

// WebIRCFlag is what the WEBIRC line says beyond the client's address, in its fifth parameter. One or more make that parameter stand
// in every WEBIRC line: ircds read from its being there that a client without "secure" has no TLS.
type WebIRCFlag string

const (
	WebIRCSecure WebIRCFlag = "secure" // that the client uses TLS; ircds believe it over a TLS hop only, but for Ergo
	WebIRCPorts  WebIRCFlag = "ports"  // local-port and remote-port: of the listener and of the client
	WebIRCCertFP WebIRCFlag = "certfp" // certfp-sha-256: of the client's certificate; InspIRCd, over a TLS hop
)

// ProxyTLV is what a PROXY v2 header says beyond the addresses. Of a client without TLS none is said.
type ProxyTLV string

const (
	TLVSSL       ProxyTLV = "ssl"       // PP2_TYPE_SSL: that the client uses TLS, its version, cipher and certificate's common name
	TLVAuthority ProxyTLV = "authority" // PP2_TYPE_AUTHORITY: the host name that the client asked for
	TLVALPN      ProxyTLV = "alpn"      // PP2_TYPE_ALPN
	TLVCertFP    ProxyTLV = "certfp"    // type 0xE0, the fingerprint of the client's certificate in hex: InspIRCd 4
)
