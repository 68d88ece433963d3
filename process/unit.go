package process

import "fmt"

// unitText is a systemd service: started again after a failure, with nothing of the system but its home to
// write to, and no rights beyond it. A command line or settings that were not understood (status 2) do not mend
// themselves.
const unitText = `[Unit]
Description=Cairn %s
Wants=network-online.target
After=network-online.target

[Service]
ExecStart=%s %s run --home %%S/cairn-%s
StateDirectory=cairn-%s
StateDirectoryMode=0700
UMask=0077
%sRestart=on-failure
RestartSec=5
RestartPreventExitStatus=2
TimeoutStopSec=90
LimitNOFILE=262144
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
PrivateTmp=yes
PrivateDevices=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
CapabilityBoundingSet=

[Install]
WantedBy=multi-user.target
`

// Unit returns the systemd unit of a role: cairn-ROLE.service, with its home in /var/lib/cairn-ROLE. who is the
// account that it runs under; "" has systemd make one.
func Unit(name, program, who string) string {
	account := "DynamicUser=yes\n"
	if who != "" {
		account = "User=" + who + "\n"
	}
	return fmt.Sprintf(unitText, name, program, name, name, name, account)
}
