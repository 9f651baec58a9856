/*
 * m_handoff: HANDOFF/1 for InspIRCd, so that a proxy can move live users between two processes.
 *
 *   Copyright (C) 2026 The ircferry authors
 *
 * This program is free software: you can redistribute it and/or modify it under the terms of the GNU General Public
 * License as published by the Free Software Foundation, version 2.
 *
 * This program is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; without even the implied
 * warranty of MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU General Public License for more details.
 *
 * You should have received a copy of the GNU General Public License along with this program; the file COPYING beside
 * this one says where it is if not.
 */

/// $ModAuthor: The ircferry authors
/// $ModDesc: Speaks HANDOFF/1: a proxy can move live users to another process without anybody seeing it.
/// $ModConfig: <handoff pass="" fingerprint="" maxusers="100000" linkwait="60s">
/// $ModDepends: core 3
/// $ModDepends: core 4

#include "inspircd.h"
#include "iohook.h"
#include "listmode.h"
#include "xline.h"
#include "modules/cap.h"
#include "modules/ssl.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <fstream>
#include <unordered_set>

#include "line.h"
#include "compat.h"
#include "proof.h"
#include "modes.h"
#include "record.h"
#include "stream.h"
#include "timed.h"
#include "world.h"
#include "network.h"
#include "marker.h"
#include "ids.h"
#include "homecoming.h"
#include "xlines.h"
#include "burst.h"
#include "linkdump.h"
#include "absent.h"
#include "writer.h"
#include "source.h"
#include "names.h"
#include "rights.h"
#include "channels.h"
#include "replayed.h"
#include "rehearsal.h"
#include "told.h"
#include "note.h"
#include "check.h"
#include "users.h"
#include "memberids.h"
#include "differences.h"
#include "announce.h"
#include "dest.h"
#include "import.h"
#include "hub.h"
#include "streamsock.h"
#include "control.h"
#include "control_hello.h"
#include "control_links.h"
#include "control_source.h"
#include "control_dest.h"
#include "sweep.h"

/** Looks once a second for connections and leases whose time is over. */
class SweepTimer : public Handoff::Ticker
{
	Handoff::Hub& hub;

 public:
	SweepTimer(Handoff::Hub& Hub) : hub(Hub) { }

	void OnTick() override { hub.Sweep(); }
};

class ModuleHandoff
	: public Handoff::ModuleBase
	, public Cap::EventListener
{
	Handoff::Hub hub;
	SweepTimer timer;
	bool begun = false; // the configuration was read once

	static bool IsLoopback(const irc::sockets::sockaddrs& sa)
	{
		if (sa.family() == AF_INET)
			return (ntohl(sa.in4.sin_addr.s_addr) >> 24) == 127;
		return sa.family() == AF_UNIX || (sa.family() == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&sa.in6.sin6_addr));
	}

	static bool HasTLS(ListenSocket* from)
	{
		return !from->bind_tag->getString("sslprofile", from->bind_tag->getString("ssl")).empty();
	}

	/** Fingerprints as openssl prints them, with colons and in capitals, are those of InspIRCd too. */
	static std::string Fingerprints(std::string text)
	{
		text.erase(std::remove(text.begin(), text.end(), ':'), text.end());
		std::transform(text.begin(), text.end(), text.begin(), ::tolower);
		return text;
	}

	static ModResult Refuse(ListenSocket* from, const char* why)
	{
		Handoff::WriteLog("Refused a connection on " + from->bind_sa.str() + ": " + why);
		return MOD_RES_DENY;
	}

 public:
	ModuleHandoff()
		: ModuleBase("Speaks HANDOFF/1: a proxy can move live users to another process without anybody seeing it.")
		, Cap::EventListener(this)
		, hub(this)
		, timer(hub)
	{
		hub.world.streams.tlsprov = Handoff::NewTLSProvider(this);
	}

	void init() override
	{
		ServerInstance->Timers.AddTimer(&timer);
	}

	void ReadConfig(ConfigStatus& status) override
	{
		hub.world.settings.pass = Handoff::Tag()->getString("pass");
		hub.world.settings.fingerprints = Fingerprints(Handoff::Tag()->getString("fingerprint"));
		hub.world.settings.maxusers = Handoff::TagNumber("maxusers", 100000);
		if (!begun)
			hub.home.Begin(Handoff::Tag()->getDuration("linkwait", 60, 0, 3600));
		begun = true;
	}

	void Prioritize() override
	{
		ServerInstance->Modules.SetPriority(this, I_OnUserWrite, PRIORITY_FIRST);
		ServerInstance->Modules.SetPriority(this, I_OnSendSnotice, PRIORITY_FIRST);
		ServerInstance->Modules.SetPriority(this, I_OnAcceptConnection, PRIORITY_FIRST);
		ServerInstance->Modules.SetPriority(this, I_OnUserInit, PRIORITY_FIRST);
		ServerInstance->Modules.SetPriority(this, I_OnUserPreNick, PRIORITY_FIRST);
		ServerInstance->Modules.SetPriority(this, I_OnUserPreJoin, PRIORITY_FIRST);
	}

	ModResult Accept(int fd, ListenSocket* from, const irc::sockets::sockaddrs& client, const irc::sockets::sockaddrs& server) override
	{
		if (Handoff::Hub::IsType(from, "handoff"))
		{
			if (!HasTLS(from) && !IsLoopback(server))
				return Refuse(from, "control in plaintext is for unix sockets and loopback only");
			new Handoff::Control(hub, fd, from, client, server);
			return MOD_RES_ALLOW;
		}
		if (Handoff::Hub::IsType(from, "handoff-stream"))
		{
			if (HasTLS(from) || !from->bind_tag->getString("hook").empty())
				return Refuse(from, "streams have no TLS and no hook of their own");
			if (server.family() == AF_UNIX)
				return Refuse(from, "streams are TCP");
			new Handoff::StreamSock(hub, fd);
			return MOD_RES_ALLOW;
		}
		if (Handoff::Hub::IsType(from, "servers") && !hub.home.MayConnect())
			return Refuse(from, "users are to come back first");
		return MOD_RES_PASSTHRU;
	}

	// Before the user has an address to be looked at, a class or a socket.
	void OnUserInit(LocalUser* user) override
	{
		if (!hub.opening)
			return;
		hub.world.streams.Tie(user, *hub.opening);
		hub.opening = nullptr;
	}

	void OnUserDisconnect(LocalUser* user) override
	{
		hub.world.streams.Forget(user);
	}

	ModResult OnNumeric(User*, const Numeric::Numeric& numeric) override
	{
		return hub.network.Takes(numeric) ? MOD_RES_DENY : MOD_RES_PASSTHRU;
	}

	// They wait, and are looked at again each second.
	ModResult OnCheckReady(LocalUser*) override { return hub.BarsUsers() ? MOD_RES_DENY : MOD_RES_PASSTHRU; }

	// A silence: nobody sees an import or a release.
	ModResult OnUserWrite(LocalUser* user, ClientProtocol::Message&) override
	{
		if (hub.world.mute)
			return MOD_RES_DENY;
		const Handoff::Stream* const stream = hub.world.streams.Get(user);
		return stream && stream->leaving ? MOD_RES_DENY : MOD_RES_PASSTHRU;
	}

	ModResult OnSendSnotice(char&, std::string&, const std::string&) override
	{
		return hub.world.mute ? MOD_RES_DENY : MOD_RES_PASSTHRU;
	}

	ModResult OnUserPreNick(LocalUser* user, const std::string& nick) override
	{
		if (!hub.world.nicks.count(nick))
			return MOD_RES_PASSTHRU;
		user->WriteNumeric(433, nick, "Nickname is already in use.");
		return MOD_RES_DENY;
	}

	ModResult BeforeJoin(LocalUser* user, Channel* chan, const std::string& name) override
	{
		if (chan || !hub.world.channels.count(name))
			return MOD_RES_PASSTHRU;
		user->WriteNumeric(437, name, "Channel is temporarily unavailable");
		return MOD_RES_DENY;
	}

	void OnBackgroundTimer(time_t) override
	{
		hub.world.streams.SyncAll();
	}

	void AfterCommand(const std::string& name, const CommandBase::Params& params) override
	{
		if (name == "TBAN")
			hub.world.timed.Learn(params);
	}

	void OnChannelDelete(Channel* chan) override
	{
		hub.world.timed.Forget(chan);
	}

	void OnShutdown(const std::string&) override
	{
		hub.world.closing = true;
	}

	void OnCapAddDel(Cap::Capability* cap, bool add) override
	{
		if (add)
			hub.world.caps.insert(cap->GetName());
	}

	// Without the module a user stays what it is, but that it cannot be moved any more.
	void LeaveUser(User* item) override
	{
		LocalUser* const user = IS_LOCAL(item);
		if (!user || !user->eh.GetModHook(this))
			return;
		UserCertificateAPI api(this);
		if (api)
			api->GetCertificate(user); // sslinfo keeps it from here on
		IOHook* const hook = user->eh.GetIOHook();
		user->eh.DelIOHook();
		delete hook;
	}

	void OnUnloadModule(Module* mod) override
	{
		const std::set<Handoff::Control*> controls(hub.controls);
		for (std::set<Handoff::Control*>::const_iterator i = controls.begin(); i != controls.end(); ++i)
			if ((*i)->GetModHook(mod))
				(*i)->Drop(false);
	}

	void End() override { hub.CloseAll(); }
};

MODULE_INIT(ModuleHandoff)
