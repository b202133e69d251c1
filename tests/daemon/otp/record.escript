#!/usr/bin/env escript
%% Plays scripts on Erlang/OTP's own supervisor and prints what it did, one line per script.
%%
%% usage: record.escript SCRIPTS, a file of Erlang terms {Strategy, Intensity, [{Id, Restart}], Prepare, Steps}.
%% A step is {exit, Id, normal | crash}, {fail, Id, Times} (its next starts fail), {hold, Id} (its next start waits)
%% or {go, Id} (the start that waits goes on; none is held any more). Whatever a child does is told in order to one process.
-mode(compile).
-behaviour(supervisor).
-export([init/1, start_child/2, child/3]).

-define(QUIET_MS, 15).

main([File]) ->
    logger:set_primary_config(level, none),
    {ok, Scripts} = file:consult(File),
    process_flag(trap_exit, true),
    ets:new(plan, [named_table, public]),
    register(recorder, spawn_link(fun() -> recorder([]) end)),
    lists:foreach(fun play/1, Scripts).

play({Strategy, Intensity, Children, Prepare, Steps}) ->
    ets:delete_all_objects(plan),
    lists:foreach(fun step/1, Prepare),
    Me = self(),
    Runner = spawn(fun() ->
        process_flag(trap_exit, true),
        Started = supervisor:start_link(?MODULE, {Strategy, Intensity, Children}),
        Me ! {self(), Started},
        case Started of
            {ok, Sup} -> receive stop -> exit(Sup, shutdown), wait(Sup); {'EXIT', Sup, _} -> tell("gave up") end;
            {error, _} -> tell("not started")
        end,
        Me ! {self(), over}
    end),
    receive
        {Runner, {ok, _}} -> lists:foreach(fun(Step) -> step(Step), quiet() end, Steps), Runner ! stop;
        {Runner, {error, _}} -> ok
    end,
    receive {Runner, over} -> ok end,
    io:format("~s~n", [lists:join(", ", ask(take))]).

wait(Sup) -> receive {'EXIT', Sup, _} -> tell("over") end.

step({fail, Id, Times}) -> ets:insert(plan, {{fail, Id}, Times});
step({hold, Id}) -> ets:insert(plan, {{hold, Id}, true});
step({go, Id}) -> ets:delete(plan, {hold, Id}), send(Id, go);
step({exit, Id, How}) -> send(Id, How).

%% One that does not run hears nothing.
send(Id, What) -> case whereis(Id) of undefined -> ok; Pid -> Pid ! What end.

quiet() ->
    Before = ask(peek),
    timer:sleep(?QUIET_MS),
    case ask(peek) of Before -> ok; _ -> quiet() end.

init({Strategy, Intensity, Children}) ->
    {ok, {#{strategy => Strategy, intensity => Intensity, period => 86400},
        [#{id => Id, start => {?MODULE, start_child, [Id, Restart]}, restart => Restart} || {Id, Restart} <- Children]}}.

start_child(Id, Restart) -> proc_lib:start_link(?MODULE, child, [self(), Id, Restart]).

child(Parent, Id, _) ->
    process_flag(trap_exit, true),
    register(Id, self()),
    tell("start ~s", [Id]),
    case ets:take(plan, {hold, Id}) of [] -> ok; _ -> receive go -> flush() end end,
    case ets:lookup(plan, {fail, Id}) of
        [{_, Times}] when Times > 0 ->
            ets:insert(plan, {{fail, Id}, Times - 1}),
            tell("no ~s", [Id]),
            unregister(Id),
            proc_lib:init_ack(Parent, {error, failed});
        _ ->
            proc_lib:init_ack(Parent, {ok, self()}),
            live(Parent, Id)
    end.

live(Parent, Id) ->
    receive
        {'EXIT', Parent, Reason} -> tell("stop ~s", [Id]), exit(Reason);
        normal -> tell("end ~s", [Id]), exit(normal);
        crash -> tell("crash ~s", [Id]), exit(crash);
        go -> live(Parent, Id)
    end.

%% What it was told while it was held would end it at no certain moment.
flush() -> receive _ -> flush() after 0 -> ok end.

tell(Text) -> tell(Text, []).
tell(Format, Args) -> ask({told, io_lib:format(Format, Args)}).

ask(What) ->
    Ref = make_ref(),
    recorder ! {self(), Ref, What},
    receive {Ref, Answer} -> Answer end.

recorder(Told) ->
    receive
        {From, Ref, {told, Text}} -> From ! {Ref, ok}, recorder([Text | Told]);
        {From, Ref, peek} -> From ! {Ref, length(Told)}, recorder(Told);
        {From, Ref, take} -> From ! {Ref, lists:reverse(Told)}, recorder([])
    end.
