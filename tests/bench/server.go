package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// server is a program to measure.
type server struct {
	name   string
	path   string // of the binary
	config func(ports [3]int) string
	args   func(ports [3]int, config string) []string
	whip   string // paths of the endpoints
	whep   string
	loaded string // answers, on the second port, when the server has started in full
}

const caddyfile = `{
	admin 127.0.0.1:%[2]d
	persist_config off
	skip_install_trust
	auto_https off
	wtn {
		media udp/127.0.0.1:%[3]d
	}
}
http://127.0.0.1:%[1]d {
	bind 127.0.0.1
	route {
		respond /ready 204
		wtn /live/*
	}
}
`

const packages = "github.com/talwtn/caddy-wtn/tests/"

// prepare builds what is to be measured: the gateway, unless there is one, and
// the plain relay.
func prepare(ctx context.Context, dir, gateway string) ([]server, error) {
	var err error
	if gateway == "" {
		gateway, err = build(ctx, dir, "gateway", packages+"internal/gatewaycmd")
	} else if gateway, err = filepath.Abs(gateway); err == nil {
		_, err = os.Stat(gateway)
	}
	if err != nil {
		return nil, err
	}
	plain, err := build(ctx, dir, "plain", packages+"bench/plain")
	if err != nil {
		return nil, err
	}
	return []server{
		{
			name: "gateway", path: gateway,
			config: func(p [3]int) string { return fmt.Sprintf(caddyfile, p[0], p[1], p[2]) },
			args: func(_ [3]int, config string) []string {
				return []string{"run", "--config", config, "--adapter", "caddyfile"}
			},
			whip: "/live/whip/bench", whep: "/live/whep/bench",
			// Caddy starts its apps one after the other. This waits until a load
			// that has begun, which /ready shows, is over.
			loaded: "/config/",
		},
		{
			name: "plain", path: plain,
			config: func([3]int) string { return "" },
			args:   func(p [3]int, _ string) []string { return []string{"-listen", fmt.Sprintf("127.0.0.1:%d", p[0])} },
			whip:   "/whip", whep: "/whep",
		},
	}, nil
}

func build(ctx context.Context, dir, name, pkg string) (string, error) {
	path := filepath.Join(dir, name)
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", path, pkg).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return path, nil
}

// process is a running server.
type process struct {
	cmd    *exec.Cmd
	origin string
	log    string // path
	exited chan struct{}
}

// start runs the server on one core and waits until it answers.
func (s server) start(ctx context.Context, dir string, core int) (*process, error) {
	ports, err := freePorts()
	if err != nil {
		return nil, err
	}
	config, log := filepath.Join(dir, s.name+".conf"), filepath.Join(dir, s.name+".log")
	if err := os.WriteFile(config, []byte(s.config(ports)), 0o600); err != nil {
		return nil, err
	}
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	command := append([]string{s.path}, s.args(ports, config)...)
	if taskset, err := exec.LookPath("taskset"); err == nil {
		command = append([]string{taskset, "-c", strconv.Itoa(core)}, command...) // it becomes the server, with the same pid
	}
	p := &process{
		cmd: exec.Command(command[0], command[1:]...), log: log,
		origin: fmt.Sprintf("http://127.0.0.1:%d", ports[0]), exited: make(chan struct{}),
	}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, f, f
	p.cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // also when the benchmark is killed
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	err = p.waitReady(ctx, p.origin+"/ready")
	if err == nil && s.loaded != "" {
		err = p.waitReady(ctx, fmt.Sprintf("http://127.0.0.1:%d%s", ports[1], s.loaded))
	}
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("%w; its log:\n%s", err, p.tail())
	}
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) waitReady(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if res, err := client.Do(req); err == nil {
			_ = res.Body.Close()
			if res.StatusCode/100 == 2 {
				return nil
			}
		}
		select {
		case <-again.C:
		case <-p.exited:
			return errors.New("the server ended while it started")
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready: %w", ctx.Err())
		}
	}
}

// stop ends the process, the hard way after a while.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	t := time.NewTimer(5 * time.Second)
	defer t.Stop()
	select {
	case <-p.exited:
	case <-t.C:
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

// tail is the end of what the server wrote.
func (p *process) tail() string {
	b, _ := os.ReadFile(p.log)
	return string(b[max(0, len(b)-4096):])
}

// freePorts finds ports that are free over TCP and UDP. They are below those
// the kernel gives to clients, so that none of these takes one meanwhile.
func freePorts() (ports [3]int, err error) {
	found := 0
	for port := 21000 + os.Getpid()%5000; port < 32000 && found < len(ports); port++ {
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		l, err := net.Listen("tcp4", addr)
		if err != nil {
			continue
		}
		c, err := net.ListenPacket("udp4", addr)
		if err == nil {
			ports[found] = port
			found++
			_ = c.Close()
		}
		_ = l.Close()
	}
	if found < len(ports) {
		return ports, errors.New("no free ports on 127.0.0.1")
	}
	return ports, nil
}
