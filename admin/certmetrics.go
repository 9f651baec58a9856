package admin

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// certMetrics shows each certificate as it is at the scrape, so that one that is gone leaves no series.
type certMetrics struct {
	certs  Certs
	expiry *prometheus.Desc
	broken *prometheus.Desc
}

// ShowCertificates registers the metrics of the listeners' certificates. The label names holds the first of a certificate's names, file
// tells two of the same names apart.
func ShowCertificates(reg prometheus.Registerer, certs Certs) {
	labels := []string{"listener", "names", "file"}
	reg.MustRegister(certMetrics{certs,
		prometheus.NewDesc("ircferry_certificate_expiry_seconds", "When a listener's certificate ends, in seconds since 1970.", labels, nil),
		prometheus.NewDesc("ircferry_certificate_broken", "1 if the files of a listener's certificate cannot be used, and the one that was read before goes on.", labels, nil)})
}

// Describe implements prometheus.Collector, as does Collect.
func (m certMetrics) Describe(ch chan<- *prometheus.Desc) { ch <- m.expiry; ch <- m.broken }

func (m certMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.certs.Certificates() {
		labels := []string{c.Listener, strings.ToValidUTF8(c.NameList(), "?"), c.CertFile}
		broken := 0.0
		if c.Broken != "" {
			broken = 1
		}
		ch <- prometheus.MustNewConstMetric(m.expiry, prometheus.GaugeValue, float64(c.NotAfter.Unix()), labels...)
		ch <- prometheus.MustNewConstMetric(m.broken, prometheus.GaugeValue, broken, labels...)
	}
}
