// Package lab runs the gateway and clients in networks that are hostile to
// media: behind NATs, without UDP, with nothing but TCP port 443. It needs root
// and makes its networks of namespaces; without root it skips.
package lab

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/talwtn/caddy-wtn/tests/internal/harness"
)

const clientEnv = "WTN_LAB_CLIENT"

func TestMain(m *testing.M) {
	if text := os.Getenv(clientEnv); text != "" {
		clientMain(text)
	}
	if to := os.Getenv(middleboxEnv); to != "" {
		middleboxMain(to)
	}
	code := m.Run()
	harness.RemoveBinary()
	os.Exit(code)
}

const filter = "table inet lab {\n\tchain forward {\n\t\ttype filter hook forward priority 0\n%s\n\t}\n}\n"

const nat = "table ip lab {\n\tchain post {\n\t\ttype nat hook postrouting priority srcnat\n\t\toifname \"out\" masquerade %s\n\t}\n}\n"

const oneToOne = `table ip lab {
	chain pre {
		type nat hook prerouting priority dstnat
		ip daddr ` + gateway4 + ` dnat to ` + inner4 + `
	}
	chain post {
		type nat hook postrouting priority srcnat
		ip saddr ` + inner4 + ` snat to ` + gateway4 + `
	}
}
`

var only443 = fmt.Sprintf(filter, "\t\tct state established,related accept\n\t\ttcp dport 443 accept\n\t\tmeta l4proto icmpv6 accept\n\t\tdrop")

// TestNetworks publishes and plays in each network, over what the client finds
// by itself or over the relay alone.
func TestNetworks(t *testing.T) {
	requireLab(t)
	for _, c := range []struct {
		name   string
		layout layout
		order  order
		want   string // what the pairs begin with: type and protocol of the client's candidate
		lossy  bool
	}{
		{name: "no NAT", want: "host/udp"},
		{name: "cone NAT", layout: layout{rules: fmt.Sprintf(nat, "")}, want: "host/udp"},
		{name: "symmetric NAT", layout: layout{rules: fmt.Sprintf(nat, "random,fully-random")}, want: "host/udp"},
		{name: "symmetric NAT, relay over udp", layout: layout{rules: fmt.Sprintf(nat, "random,fully-random")}, order: order{RelayOnly: true, Transport: "udp"}, want: "relay/udp"},
		{name: "UDP blocked", layout: layout{rules: fmt.Sprintf(filter, "\t\tmeta l4proto udp drop")}, want: "host/tcp"},
		{name: "UDP blocked, relay over tcp", layout: layout{rules: fmt.Sprintf(filter, "\t\tmeta l4proto udp drop")}, order: order{RelayOnly: true, Transport: "tcp"}, want: "relay/udp"},
		{name: "only TCP 443", layout: layout{rules: only443}, want: "relay/udp"},
		{name: "only TCP 443, only turns offered", layout: layout{rules: only443}, order: order{Transport: "tls"}, want: "relay/udp"},
		{name: "IPv6 only", layout: layout{only6: true}, want: "host/udp"},
		// A relay over IPv6 is not tried: the client library has none.
		{name: "IPv6 only, UDP blocked", layout: layout{only6: true, rules: fmt.Sprintf(filter, "\t\tmeta l4proto udp drop")}, want: "host/tcp"},
		{name: "5 % loss", layout: layout{rules: fmt.Sprintf(filter, "\t\tmeta l4proto udp numgen random mod 100 < 5 drop")}, want: "host/udp", lossy: true},
		{name: "gateway behind 1:1 NAT", layout: layout{oneToOne: true, rules: oneToOne}, want: "host/udp"},
		{name: "gateway behind 1:1 NAT, relay over tls", layout: layout{oneToOne: true, rules: oneToOne}, order: order{RelayOnly: true, Transport: "tls"}, want: "relay/udp"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newLab(t, c.layout)
			host := gateway4
			if c.layout.only6 {
				host = "[" + gateway6 + "]"
			}
			ca := b.start(host, c.layout.oneToOne)
			c.order.NoTCP = c.want == "host/udp"
			c.order.URL, c.order.Packets = "https://"+host, 200
			r := b.send(c.order, ca)
			if r.Error != "" {
				t.Fatalf("%s\n%+v", r.Error, r)
			}
			t.Logf("publish connected in %4d ms by %s", r.Publish.Connected.Milliseconds(), r.Publish.Pair)
			t.Logf("play    connected in %4d ms by %s; %d packets, %d lost", r.Play.Connected.Milliseconds(), r.Play.Pair, r.Received, r.Lost)
			for _, s := range []side{r.Publish, r.Play} {
				if !strings.HasPrefix(s.Pair, c.want) {
					t.Errorf("pair is %s, want %s", s.Pair, c.want)
				}
			}
			if !c.lossy && r.Lost > 0 {
				t.Errorf("%d packets were lost", r.Lost)
			}
		})
	}
}

// start runs the gateway with an HTTPS site of this host, and returns the file
// of the certificate clients have to trust.
func (b *lab) start(host string, oneToOne bool) (ca string) {
	b.t.Helper()
	dir := b.t.TempDir()
	cert, key := certificate(b.t, dir, strings.Trim(host, "[]"))
	public := ""
	if oneToOne {
		public = "public_address " + host
	}
	wrappers := "turn"
	if b.plain {
		wrappers = "turn\n\t\t\ttls\n\t\t\tturn"
	}
	text := fmt.Sprintf(`{
	admin off
	persist_config off
	skip_install_trust
	auto_https disable_redirects
	default_sni %s
	servers {
		listener_wrappers {
			%s
		}
	}
	wtn {
		%s
	}
}
https://%s {
	tls %s %s
	route {
		respond /ready 204
		wtn
	}
}
`, strings.Trim(host, "[]"), wrappers, public, host, cert, key)
	conf := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command("ip", "netns", "exec", b.gateway, harness.Binary(b.t), "run", "--config", conf, "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir+"/data", "XDG_CONFIG_HOME="+dir+"/config")
	log, ready := new(logBuffer), make(chan struct{})
	log.await("serving initial configuration", ready)
	b.background(cmd, log)
	select {
	case <-ready:
	case <-time.After(30 * time.Second):
		b.t.Fatalf("the gateway does not start:\n%s", log)
	}
	return cert
}

// background runs a process until the test ends. `ip netns exec` becomes the
// process, so that its id is that of what it runs.
func (b *lab) background(cmd *exec.Cmd, log *logBuffer) {
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		err := cmd.Wait()
		if !kill.Stop() || err != nil {
			b.t.Errorf("%s did not end cleanly: %v", cmd, err)
		}
		if b.t.Failed() {
			b.t.Logf("log of %s:\n%s", cmd, log)
		}
	})
}

// send runs a client in its namespace and returns what it says.
func (b *lab) send(o order, ca string) (r report) {
	b.t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		b.t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command("ip", "netns", "exec", b.client, exe)
	cmd.Env = append(os.Environ(), clientEnv+"="+string(text), "SSL_CERT_FILE="+ca)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	kill := time.AfterFunc(3*clientTimeout, func() {
		if cmd.Process != nil {
			_ = cmd.Process.Kill()
		}
	})
	defer kill.Stop()
	out, err := cmd.Output()
	if err != nil {
		b.t.Fatalf("the client: %v\n%s", err, &errs)
	}
	if err := json.Unmarshal(out, &r); err != nil {
		b.t.Fatalf("the client says %q: %v\n%s", out, err, &errs)
	}
	return r
}

// certificate is one the gateway shows and clients trust as it is.
func certificate(t *testing.T, dir, ip string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: ip}, IPAddresses: []net.IP{net.ParseIP(ip)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}
