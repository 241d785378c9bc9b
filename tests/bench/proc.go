package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// usage is what a process has used since it began, and its core.
type usage struct {
	cpu  time.Duration
	core time.Duration // for which its core was not idle, whoever used it
	rss  int64         // bytes, now
}

// tick is the unit of time in /proc (USER_HZ).
const tick = 10 * time.Millisecond

// readUsage asks the kernel. The scheduler's account of each thread is exact
// and is taken where there is one; else the ticks of /proc/PID/stat count.
func readUsage(pid, core int) (usage, error) {
	var u usage
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return u, err
	}
	for _, path := range threads {
		b, err := os.ReadFile(path)
		f := strings.Fields(string(b))
		if err != nil || len(f) < 1 {
			continue // the thread is gone
		}
		ns, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil {
			return u, err
		}
		u.cpu += time.Duration(ns)
	}
	if u.cpu == 0 {
		if u.cpu, err = readTicks(pid); err != nil {
			return u, err
		}
	}
	if u.core, err = readCore(core); err != nil {
		return u, err
	}
	u.rss, err = readRSS(pid)
	return u, err
}

// readCore adds the times of a core in /proc/stat, all but idle and iowait.
func readCore(core int) (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 9 || f[0] != fmt.Sprintf("cpu%d", core) {
			continue
		}
		var sum int64
		for _, i := range []int{1, 2, 3, 6, 7, 8} { // user, nice, system, irq, softirq, steal
			n, err := strconv.ParseInt(f[i], 10, 64)
			if err != nil {
				return 0, err
			}
			sum += n
		}
		return time.Duration(sum) * tick, nil
	}
	return 0, fmt.Errorf("/proc/stat has no core %d", core)
}

// readTicks adds user and system time, fields 14 and 15 of proc_pid_stat(5).
func readTicks(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	s := string(b)
	f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:]) // the name before may have blanks
	if len(f) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat is too short", pid)
	}
	user, err := strconv.ParseInt(f[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * tick, err
}

func readRSS(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(v), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no VmRSS", pid)
}

// ownCPU is what this process, the generator, has used.
func ownCPU() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// pinSelf keeps the generator on n cores other than the server's.
// Threads that come later inherit it. It returns false when the two cannot be
// kept apart: for want of cores, or of taskset for the server.
func pinSelf(server, n int) bool {
	if _, err := exec.LookPath("taskset"); err != nil || runtime.NumCPU() < n+1 {
		return false
	}
	var set unix.CPUSet
	for i := 0; set.Count() < n; i++ {
		if i != server {
			set.Set(i)
		}
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return false
	}
	for _, t := range threads {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return false
		}
		if err := unix.SchedSetaffinity(tid, &set); err != nil && err != unix.ESRCH {
			return false
		}
	}
	runtime.GOMAXPROCS(n)
	return true
}
