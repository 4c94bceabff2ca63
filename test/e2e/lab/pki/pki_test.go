package pki

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
)

func TestCertificatesAreGoodForWhatTheyAreMadeFor(t *testing.T) {
	ca, err := NewCA("ca")
	if err != nil {
		t.Fatal(err)
	}
	server, err := ca.Server("server", []string{"kubernetes"}, []net.IP{net.IPv4(172, 18, 0, 2)})
	if err != nil {
		t.Fatal(err)
	}
	client, err := ca.Client("system:node:n1", "system:nodes")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca.Cert) {
		t.Fatal("the CA's certificate is no PEM")
	}
	for sentence, tc := range map[string]struct {
		pair Pair
		name string
		use  x509.ExtKeyUsage
		ok   bool
	}{
		"a server's name":                          {server, "kubernetes", x509.ExtKeyUsageServerAuth, true},
		"a server's address":                       {server, "172.18.0.2", x509.ExtKeyUsageServerAuth, true},
		"not another's address":                    {server, "172.18.0.3", x509.ExtKeyUsageServerAuth, false},
		"a client":                                 {client, "", x509.ExtKeyUsageClientAuth, true},
		"a client's certificate serves nobody":     {client, "", x509.ExtKeyUsageServerAuth, false},
		"a server's certificate identifies nobody": {server, "", x509.ExtKeyUsageClientAuth, false},
	} {
		t.Run(sentence, func(t *testing.T) {
			p, err := tls.X509KeyPair(tc.pair.Cert, tc.pair.Key)
			if err != nil {
				t.Fatal(err)
			}
			c, err := x509.ParseCertificate(p.Certificate[0])
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Verify(x509.VerifyOptions{Roots: roots, DNSName: tc.name, KeyUsages: []x509.ExtKeyUsage{tc.use}})
			if (err == nil) != tc.ok {
				t.Errorf("verified: %v", err)
			}
		})
	}
	p, _ := tls.X509KeyPair(client.Cert, client.Key)
	if c, _ := x509.ParseCertificate(p.Certificate[0]); c.Subject.CommonName != "system:node:n1" || len(c.Subject.Organization) != 1 || c.Subject.Organization[0] != "system:nodes" {
		t.Errorf("the client is %s", c.Subject)
	}
}
