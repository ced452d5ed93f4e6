//! Clients of the control socket. Each line is sent at once.

/// Name and text of each.
pub(super) const SAMPLES: [(&str, &str); 4] = [
    (
        "asked",
        "{'execute':'qmp_capabilities'}{\"execute\":\"query-status\",\"id\":[1]}\n{\"execute\":\"query-qmp-schema\"}",
    ),
    (
        "overtaking",
        "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}\n{\"execute\":\"stop\"}{\"exec-oob\":\"query-name\"}",
    ),
    (
        "monitor",
        "{\"execute\":\"qmp_capabilities\"}{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"sendkey ctrl-0x1e 5\"}}",
    ),
    (
        "input",
        "{\"execute\":\"qmp_capabilities\"}{\"execute\":\"input-send-event\",\"arguments\":{\"events\":[{\"type\":\"btn\",\"data\":{\"down\":true,\"button\":\"left\"}}]}}\n{\"execute\":\"screendump\",\"arguments\":{\"filename\":\"a\",\"format\":\"png\"}}",
    ),
];
